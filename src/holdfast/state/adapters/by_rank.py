"""Values that each of several processes has for itself: `records.ByRank`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ... import paths
from ...records import BY_RANK, ByRank, Node, Object, OwnPart
from .._fit import Fit, Make
from .._walk import Walk


class _ByRank:
    name = BY_RANK

    def claims(self, kind: type) -> bool:
        return issubclass(kind, ByRank)

    def capture(self, value: ByRank, walk: Walk, path: str) -> Node:
        if not walk.with_boxes:
            walk.refuse(
                path, "value that each process has for itself", "Save it from all of them, with crew=."
            )
        with walk.apart() if isinstance(value, OwnPart) else nullcontext():
            taken = walk.node(value.value, paths.item(path, value.rank))
        return Object(self.name, "holdfast.ByRank", taken)

    def plan(self, live: ByRank, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, holds=list)
        if saved is None:
            return fit.keep(live)
        if len(saved.state) != live.size:  # what one of so many processes had is nobody's now
            fit.kept.append(path)
            return fit.keep(live)
        make = fit.into(live.value, saved.state[live.rank], paths.item(path, live.rank))

        def act() -> ByRank:
            live.value = make()
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> list[Any]:
        """What each process had, by rank."""
        return state


ADAPTERS = (_ByRank(),)
