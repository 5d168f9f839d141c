"""Saving under a name that is taken: what has it is renamed first, and deleted once the new checkpoint is there.

In place, as one process overwrites, it cannot be done: a rank that hears nothing more of rank 0 renames the unfinished
directory, which here would be the checkpoint that is replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...errors import CommitUncertainError, HoldfastError, SaveError
from ...storage import Storage
from .._commit import is_damaged, make_way, moved, reason_of, rename_damaged
from .._delete import delete
from .._format.names import bundle_path, new_id, replaced_name
from .._open import read_record
from .._pin import is_pinned_inside

logger = logging.getLogger("holdfast")


@contextmanager
def free_name(disk: Storage, directory: str, name: str) -> Iterator[None]:
    """Inside, nothing has the name. What had it has it again if that fails; else it is deleted, unless it is pinned or damaged.

    A kill leaves it under its other name, as a checkpoint like any other.

    Raises:
        SaveError: the disk refused to rename it.
    """
    place = bundle_path(directory, name)
    try:
        aside = _renamed(disk, directory, name)
    except OSError as err:
        raise SaveError(place, reason_of(err)) from err
    if aside is None:
        yield
        return
    try:
        yield
    except CommitUncertainError:
        raise
    except BaseException:
        with suppress(OSError):
            disk.rename(aside, place)
        raise
    try:
        delete(disk, aside)
    except HoldfastError as err:
        logger.warning("what was replaced stays at %s: %s", aside, err)


def _renamed(disk: Storage, directory: str, name: str) -> str | None:
    """Where what had the name is now, if it is to be deleted."""
    place = bundle_path(directory, name)
    try:
        inside = disk.open_directory(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with inside:
        if is_damaged(disk, inside, place, False):
            rename_damaged(disk, place, new_id(), inside)
            return None
        if is_pinned_inside(inside):
            make_way(disk, directory, name, inside)
            return None
        aside = bundle_path(directory, replaced_name(name, read_record(inside, place).id))
        return aside if moved(disk, place, aside, inside) else None
