"""Deleting checkpoints on request, in two steps: `removable` checks and refuses, `remove` deletes what was checked."""

from __future__ import annotations

from .. import bundle
from ..errors import CheckpointNotFoundError, CheckpointPinnedError
from ..storage import LocalDisk, Storage
from ._places import Place, locate

_RENAMED_DAMAGED = f"{bundle.SUFFIX}.damaged-"


def removable(place: Place, *, disk: Storage | None = None) -> bundle.Listed:
    """The checkpoint at `place`, complete or damaged, also one renamed to `….ckpt.mml.damaged-<id>`.

    Raises:
        CheckpointNotFoundError: there is none, or it is a link to one.
        CheckpointPinnedError: it is pinned.
    """
    disk = disk or LocalDisk()
    listed = locate(place, disk=disk)
    path = listed.path
    above, _, name = path.rpartition("/")
    if not name.endswith(bundle.SUFFIX) and _RENAMED_DAMAGED not in name:
        raise CheckpointNotFoundError(
            path, f"this is no checkpoint: its name does not end with {bundle.SUFFIX}"
        )
    try:
        folders = disk.folders(above or ("/" if path.startswith("/") else "."))
    except OSError:
        raise CheckpointNotFoundError(path) from None
    if name not in folders:
        raise CheckpointNotFoundError(path, "this is a link, not the directory of a checkpoint")
    if bundle.is_pinned(disk, path):
        raise CheckpointPinnedError(path)
    return listed


def remove(place: Place, *, disk: Storage | None = None) -> None:
    """Delete the checkpoint at a path, or one that `scan` or `removable` listed and that is still the same.

    Whatever other checkpoints share with it stays.

    Raises:
        CheckpointNotFoundError: see `removable`.
        CheckpointReplacedError: the name holds another checkpoint by now; nothing was deleted.
        SaveError: the disk refused.
    """
    listed = place if isinstance(place, bundle.Listed) else removable(place, disk=disk)
    bundle.delete(disk or LocalDisk(), listed.path, expected_id=listed.record.id if listed.record else None)
