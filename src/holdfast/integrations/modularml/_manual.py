"""ModularML's `save_checkpoint` and `restore_checkpoint`, with bundles in the place of its archives."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ... import bundle
from ...checkpoint import find
from ...checkpoint import open as open_checkpoint
from ...errors import CheckpointExistsError, PlanMismatchError
from ...harness import file_place
from ...policy import check_name
from ...records import MANUAL, Moment
from ...runtime import ExperimentDirectory, save_manually
from ._graph import live_parts, make_ready


def bundle_at(place: str | Path) -> Path | None:
    """The bundle that a path of ModularML's means, with its suffix or without; None if there is none.

    Of a script that saves elsewhere now, as `holdfast check` lets it, what it has saved there comes first.
    """
    found = find(file_place(place)) or find(place)
    return None if found is None else Path(found.path)


def save(place: Path, parts: Mapping[str, Any], held: Any, *, overwrite: bool, kind: Any) -> Path:
    """Commit these parts as the bundle at `place` (its suffix may be missing); returns its path.

    Raises:
        CheckpointExistsError: it is there and `overwrite` is False.
        SaveError: the disk refused; what was there before is there still.
    """
    name = check_name(place.name.removesuffix(bundle.SUFFIX))
    place = Path(file_place(place))
    folder = str(place.parent)
    if not overwrite and bundle_at(place) is not None:
        raise CheckpointExistsError(bundle.bundle_path(folder, name))
    moment = Moment(
        run=held.position.run if held else secrets.token_hex(16),
        hook=MANUAL,
        step=held.position.step if held else 0,
    )
    own = None if held is None else held.sessions.directory
    with ExitStack() as closing:
        if own is None or not own.is_open:
            own = closing.enter_context(ExperimentDirectory(folder, moment.run, share=True))
        return save_manually(own, folder, name, lambda: parts, kind=kind, moment=moment, overwrite=overwrite)


def restore_graph(graph: Any, place: Path) -> None:
    """Weights and optimizer, by the nodes' labels: every byte is checked before the first one is assigned."""
    with open_checkpoint(place) as checkpoint:
        if "graph" not in (checkpoint.tree() or {}):
            raise PlanMismatchError([f"{place} holds no model graph of ModularML"])
        make_ready(graph, checkpoint["graph"])
        tree: Any = checkpoint.tree()
        checkpoint.restore({name: part for name, part in live_parts(graph).items() if name in tree})
