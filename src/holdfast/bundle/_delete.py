"""Deleting: the bundle is renamed away first, so that a kill anywhere leaves it there or gone.

Its new name says how far it got. `.NAME.<id>.aside`: moved away, to check whether it is the checkpoint
meant (it may have been overwritten since the caller looked). `.NAME.<random>.trash`: it is, and nothing
brings it back. Out of `.aside` it can be renamed only once: to the trash, or back to its place. So a
sweeper may settle what a dead deleter left, and no bundle comes back that somebody is emptying.
"""

from __future__ import annotations

import contextlib
import errno
import logging

from ..errors import (
    CheckpointNotFoundError,
    CheckpointPinnedError,
    CheckpointReplacedError,
    CheckpointUnreadableError,
    HoldfastError,
    NotChangedError,
    SaveError,
)
from ..storage import Storage
from ._folders import parent
from ._format.names import RECORD, SUFFIX, aside_path, new_id, trash_path
from ._leftovers import empty_trash, is_ours, put_back, put_pinned_back, record_in, sync_removal
from ._open import read_record
from ._pin import is_pinned

logger = logging.getLogger("holdfast")


def delete(disk: Storage, path: str, *, expected_id: str | None = None) -> None:
    """Delete the bundle at `path`; files in it that are not ours stay behind, in its `.trash` directory.

    With `expected_id` only that checkpoint is deleted; without it also a damaged bundle.

    Raises:
        CheckpointNotFoundError: there is no bundle.
        CheckpointPinnedError: it is pinned; it is left alone.
        CheckpointReplacedError: it holds another checkpoint than `expected_id`; it is left alone.
        SaveError: the disk refused.
    """
    directory, name = parent(path), path.rstrip("/").rpartition("/")[2].removesuffix(SUFFIX)
    trash = trash_path(directory, name, new_id())
    try:
        if is_pinned(disk, path):
            raise CheckpointPinnedError(path)
        if expected_id is None:
            _check_is_bundle(disk, path)
            if not _moved(disk, path, trash):
                trash = path
        else:
            disk.open_directory(path).close()  # nothing there is another error than another checkpoint there
            _check_id(disk, path, path, expected_id)
            aside = aside_path(directory, name, expected_id)
            if _moved(disk, path, aside):
                _settle(disk, aside, trash, path, expected_id)
            else:
                trash = path
        if trash == path:
            _end_in_place(disk, path)
        sync_removal(disk, directory)
    except HoldfastError:
        raise
    except FileNotFoundError:
        raise CheckpointNotFoundError(path) from None
    except OSError as err:
        raise NotChangedError(path, f"it cannot be removed: {err.strerror}") from err
    try:
        empty_trash(disk, trash)
    except OSError as err:
        logger.warning("%s is deleted, but %s could not be removed: %s", path, trash, err)


def _moved(disk: Storage, path: str, to: str) -> bool:
    """Rename the bundle; False where that cannot be: a lower layer of an overlay file system has it."""
    try:
        disk.rename(path, to)
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        return False
    return True


def _end_in_place(disk: Storage, path: str) -> None:
    """What has no record is no checkpoint: durably, before a file of it goes."""
    with disk.open_directory(path) as inside:
        with contextlib.suppress(FileNotFoundError):
            inside.unlink(RECORD)
        inside.sync()


def _settle(disk: Storage, aside: str, trash: str, path: str, expected_id: str) -> None:
    """From `aside` to the trash, or back to `path` if it has become another checkpoint."""
    try:
        _check_id(disk, aside, path, expected_id)
    except CheckpointReplacedError:
        # If the name is taken again, what we moved has been replaced and is not needed.
        if put_back(disk, aside, path):
            raise
    except (OSError, SaveError):  # which one it is cannot be known
        put_back(disk, aside, path)
        raise
    if is_pinned(disk, aside):  # since we looked
        name = path.rstrip("/").rpartition("/")[2].removesuffix(SUFFIX)
        put_pinned_back(disk, aside, parent(path), name, expected_id)
        raise CheckpointPinnedError(path)
    try:
        disk.rename(aside, trash)
    except FileNotFoundError:  # a sweeper was quicker
        if record_in(disk, path):
            _check_id(disk, path, path, expected_id)


def _check_id(disk: Storage, found_at: str, path: str, expected_id: str) -> None:
    """Raises CheckpointReplacedError, also where there is nothing or no valid record; SaveError if the disk fails to tell."""
    record = None
    try:
        with disk.open_directory(found_at) as inside:
            record = read_record(inside, path)
    except FileNotFoundError:
        pass
    except CheckpointUnreadableError as err:
        raise NotChangedError(path, f"it cannot be removed: {err.why}") from err
    except HoldfastError:
        pass
    if record is None or record.id != expected_id:
        raise CheckpointReplacedError(path, expected_id, record.id if record else None)


def _check_is_bundle(disk: Storage, path: str) -> None:
    try:
        with disk.open_directory(path) as inside:
            names = inside.names()
    except NotADirectoryError:
        raise CheckpointNotFoundError(path, "this is not the directory of a checkpoint") from None
    if RECORD not in names and not any(is_ours(name) for name in names):
        raise CheckpointNotFoundError(path, "this is not the directory of a checkpoint")
