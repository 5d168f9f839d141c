"""Checkpoints saved on request, whatever the policies say. No policy counts, keeps or deletes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ... import bundle, state
from ...records import MANUAL, Moment
from .._directory import ExperimentDirectory
from .._resuming.expected import Ahead


def save_manually(
    directory: ExperimentDirectory,
    folder: str,
    name: str,
    parts: Callable[[], Mapping[str, Any]],
    *,
    kind: Literal["train", "experiment"],
    moment: Moment,
    metrics: Mapping[str, float] | None = None,
    durability: Literal["full", "process"] = "full",
    exclude: Sequence[str] = (),
    overwrite: bool = True,
    ahead: Callable[[], Ahead] | None = None,
    may_be_infinite: Sequence[str] = (),
) -> Path:
    """Commit the live parts that `parts` gives now, once the save under way is committed; returns the bundle's path.

    Nothing is copied: the caller waits, and so does whoever could change them. Of several ranks each gives its own, and no
    `ahead`, which each has among its parts.

    Raises: as `ExperimentDirectory.save`; UnsupportedStateError if something in them cannot be saved.
    """
    are_several = directory.ranks.are_several
    live = None if are_several else state.look(parts(), exclude=exclude)
    directory.writer.settle()
    draft = directory.draft(
        name,
        kind=kind,
        moment=replace(moment, hook=MANUAL),
        metrics=metrics or {},
        reason="saved on request",
        blocked_s=0.0,
        durability=durability,
        ahead=None if ahead is None or are_several else ahead(),
    )
    if live is None:
        directory.save_together(
            *(folder, draft, lambda: state.look(parts(), exclude=exclude, with_boxes=True)),
            overwrite=overwrite,
            may_be_infinite=may_be_infinite,
        )
    else:
        directory.save(*(folder, draft, live), overwrite=overwrite, may_be_infinite=may_be_infinite)
    return Path(bundle.bundle_path(folder, name))
