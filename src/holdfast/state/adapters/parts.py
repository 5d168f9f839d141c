"""Objects that name their own parts: `records.Parts`."""

from __future__ import annotations

from typing import Any

from ...records import Node, Object, Parts
from .._fit import Fit, Make
from .._walk import Walk, type_name
from .python import plan_entries


class _Parts:
    name = "parts"

    def claims(self, kind: type) -> bool:
        return hasattr(kind, "state_parts") and hasattr(kind, "adopt_parts")

    def capture(self, value: Parts, walk: Walk, path: str) -> Node:
        parts = {name: walk.node(part, walk.child(path, name)) for name, part in value.state_parts().items()}
        return Object(self.name, type_name(type(value)), parts)

    def plan(self, live: Parts, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        makes = plan_entries(dict(live.state_parts()), taken.state, fit, path)

        def act() -> Any:
            live.adopt_parts({name: make() for name, make in makes.items()})
            return live

        return act


ADAPTERS = (_Parts(),)
