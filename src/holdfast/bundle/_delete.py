"""Deleting: the bundle is renamed away first, so that a kill anywhere leaves it there or gone.

If the name holds another checkpoint than the one meant by the time it is moved, it is put back.
"""

from __future__ import annotations

import contextlib
import logging

from ..errors import CheckpointNotFoundError, CheckpointReplacedError, SaveError
from ..storage import Storage
from ._commit import parent
from ._leftovers import empty, is_ours, put_back, record_in
from ._names import RECORD, SUFFIX, new_id, trash_path

logger = logging.getLogger("holdfast")


def delete(disk: Storage, path: str, *, expected_id: str | None = None) -> None:
    """Delete the bundle at `path`; files in it that are not ours stay behind, in its `.trash` directory.

    With `expected_id` only that checkpoint is deleted; without it also a damaged bundle.

    Raises:
        CheckpointNotFoundError: there is no bundle.
        CheckpointReplacedError: it holds another checkpoint than `expected_id`; it is left alone.
        SaveError: the disk refused.
    """
    directory, name = parent(path), path.rstrip("/").rpartition("/")[2].removesuffix(SUFFIX)
    _check(disk, path, path, expected_id)
    trash = trash_path(directory, name, expected_id or new_id())
    try:
        disk.rename(path, trash)
    except FileNotFoundError:
        raise CheckpointNotFoundError(path) from None
    except OSError as err:
        raise SaveError(path, f"it cannot be removed: {err.strerror}") from err
    try:
        _check(disk, trash, path, expected_id)
    except CheckpointReplacedError:
        # Overwritten between the look and the move. If the name is taken again by now, what we moved
        # has been replaced once more and nobody misses it.
        if put_back(disk, trash, directory, name):
            raise
    with contextlib.suppress(PermissionError), disk.open_directory(directory) as above:
        above.sync()
    try:
        empty(disk, trash)
        disk.rmdir(trash)
    except OSError as err:
        logger.warning("%s is deleted, but %s could not be removed: %s", path, trash, err)


def _check(disk: Storage, path: str, place: str, expected_id: str | None) -> None:
    if expected_id is None:
        try:
            with disk.open_directory(path) as inside:
                names = inside.names()
        except OSError:
            raise CheckpointNotFoundError(place) from None
        if RECORD not in names and not any(is_ours(name) for name in names):
            raise CheckpointNotFoundError(place, "this is not a checkpoint's directory")
        return
    record = record_in(disk, path)
    if record is None or record.id != expected_id:
        raise CheckpointReplacedError(place, expected_id, record.id if record else None)
