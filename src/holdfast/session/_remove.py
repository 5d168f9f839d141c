"""Deleting a checkpoint by hand: whole or damaged, but never anything that is not one."""

from __future__ import annotations

import os

from .. import bundle
from ..errors import CheckpointNotFoundError
from ..storage import LocalDisk, Storage

_SET_ASIDE = f"{bundle.SUFFIX}.damaged-"


def remove(place: str | os.PathLike[str] | bundle.Listed, *, disk: Storage | None = None) -> None:
    """Delete the checkpoint at a path (`….ckpt.mml`), or one that `scan` listed and that is still the same.

    Whatever other checkpoints share with it stays. A damaged one is deleted too, also one that was set
    aside as `….ckpt.mml.damaged-<id>`.

    Raises:
        CheckpointNotFoundError: there is none, or this is no checkpoint (a symbolic link is none).
        CheckpointReplacedError: it is not the listed one any more; nothing was deleted.
        SaveError: the disk refused.
    """
    disk = disk or LocalDisk()
    path = place.path if isinstance(place, bundle.Listed) else os.fspath(place).rstrip("/")
    expected_id = place.record.id if isinstance(place, bundle.Listed) and place.record else None
    above, _, name = path.rpartition("/")
    if not name.endswith(bundle.SUFFIX) and _SET_ASIDE not in name:
        raise CheckpointNotFoundError(
            path, f"this is no checkpoint: its name does not end with {bundle.SUFFIX}"
        )
    try:
        folders = disk.folders(above or ("/" if path.startswith("/") else "."))
    except OSError:
        raise CheckpointNotFoundError(path) from None
    if name not in folders:
        raise CheckpointNotFoundError(path)
    bundle.delete(disk, path, expected_id=expected_id)
