"""Checkpoints saved on request, whatever the policies say. No policy counts, keeps or deletes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ... import bundle, state
from ...records import MANUAL, CheckpointRecord, Moment
from .._directory import ExperimentDirectory
from .._resuming.expected import Ahead


def save_manually(
    directory: ExperimentDirectory,
    folder: str,
    name: str,
    parts: Mapping[str, Any],
    *,
    kind: Literal["train", "experiment"],
    moment: Moment,
    metrics: Mapping[str, float] | None = None,
    durability: Literal["full", "process"] = "full",
    exclude: Sequence[str] = (),
    overwrite: bool = True,
    ahead: Ahead | None = None,
    may_be_infinite: Sequence[str] = (),
) -> Path:
    """Commit these live parts now, once the save under way is committed; returns the bundle's path.

    Nothing is copied: the caller waits, and so does whoever could change them.

    Raises: as `ExperimentDirectory.save`; UnsupportedStateError if something in them cannot be saved.
    """
    directory.writer.settle()
    draft = _draft(directory, name, kind, moment, metrics, durability, ahead)
    directory.save(
        *(folder, draft, state.look(parts, exclude=exclude)),
        overwrite=overwrite,
        may_be_infinite=may_be_infinite,
    )
    return Path(bundle.bundle_path(folder, name))


def save_manually_together(
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
) -> Path:
    """As `save_manually`, by all ranks of a run; `parts` gives those of this one.

    Raises: as `ExperimentDirectory.save_together`.
    """
    directory.save_together(
        folder,
        _draft(directory, name, kind, moment, metrics, durability, None),
        lambda: state.look(parts(), exclude=exclude, with_boxes=True),
        overwrite=overwrite,
    )
    return Path(bundle.bundle_path(folder, name))


def _draft(
    directory: ExperimentDirectory,
    name: str,
    kind: Literal["train", "experiment"],
    moment: Moment,
    metrics: Mapping[str, float] | None,
    durability: Literal["full", "process"],
    ahead: Ahead | None,
) -> CheckpointRecord:
    return directory.draft(
        name,
        kind=kind,
        moment=replace(moment, hook=MANUAL),
        metrics=metrics or {},
        reason="saved on request",
        blocked_s=0.0,
        durability=durability,
        ahead=ahead,
    )
