"""A new line from an old checkpoint: a run of its own, in a directory of its own, that knows where it comes from."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace

from .. import bundle
from ..errors import CheckpointThinnedError, UsageError
from ..records import leaves
from ..storage import LocalDisk, Storage, absolute, local_path
from ._checkpoint import source_of
from ._derived import Pieces, StreamedSnapshot, draft
from ._lock import LOCK
from ._places import Place

FORKED_FROM = "forked_from"
"""The name among a record's details under which a fork records its origin."""

_KEPT = ("elapsed_s", "health", "next")  # details that are still true of the fork


def fork(
    place: Place,
    directory: str | os.PathLike[str],
    *,
    disk: Storage | None = None,
) -> bundle.Listed:
    """Start a new run in `directory` from the checkpoint at `place`; returns the path of its first checkpoint.

    A script that saves in `directory` and resumes continues from there, with a run id of its own; settings that it has
    changed win if they are named in `resume_override`. The packs are linked where the file system can, so a fork
    takes next to no bytes; every byte is verified. No retention of a later run removes it.

    Raises:
        CheckpointNotFoundError, DamagedError: there is no such checkpoint, or it is not what was saved.
        CheckpointThinnedError: no run can resume from it.
        UsageError: there are checkpoints in `directory` already.
        SaveError: the disk refused.
    """
    disk = disk or LocalDisk()
    target = local_path("directory", directory).rstrip("/") or "/"
    if next(bundle.scan(disk, target), None) is not None:
        raise UsageError(f"{target} already has checkpoints: a fork needs a directory of its own.")
    with ExitStack() as closing:
        opened = source_of(place, closing, disk=disk)
        if opened.record.details.get("thinned"):
            raise CheckpointThinnedError(opened.path)
        opened.check([*leaves(opened.tree)])
        sharing = bundle.Sharing()
        sharing.learn(opened.path, opened.record, opened.stored)
        origin = opened.record
        moment = replace(origin.moment, run=bundle.new_id())
        first = replace(
            draft(origin.name, origin.kind, moment, reason=f"forked from {origin.name}", like=origin),
            seq=1,
            parent=origin.id,
            metrics=origin.metrics,
            details={name: origin.details[name] for name in _KEPT if name in origin.details}
            | {FORKED_FROM: {"id": origin.id, "run": origin.run, "path": absolute(opened.path)}},
        )
        snapshot = StreamedSnapshot(opened.tree, Pieces(opened))
        record = bundle.save(disk, target, first, snapshot, sharing, overwrite=False)
    with disk.open_directory(target) as here:
        # Marks an experiment's directory: below another one, it does not belong to that one.
        held = here.claim(LOCK, b"")
        if held is not None:
            held.release()
    return bundle.Listed(bundle.bundle_path(target, record.name), record)
