"""Pins: an empty file `pinned` in a bundle's directory, so that no policy, and no save of its name, removes it.

It is not part of the checkpoint: no record names it, and a copy of the bundle has none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator

from ..errors import CheckpointNotFoundError, CheckpointReplacedError, NotChangedError, SaveError
from ..storage import Directory, Storage
from ._format.names import PINNED
from ._open import is_at, read_record


def pin(disk: Storage, path: str) -> bool:
    """Pin the checkpoint at `path`, durably; False if it was pinned already.

    Raises:
        CheckpointNotFoundError: there is none.
        DamagedError: it has no valid record.
        CheckpointReplacedError: it was deleted while it was being pinned.
        SaveError: the disk refused.
    """
    with _failing(path), disk.open_directory(path) as inside:
        id = read_record(inside, path).id
        try:
            inside.create(PINNED).close()
        except FileExistsError:
            return False
        inside.sync()
        now = read_record(inside, path).id if is_at(disk, path, inside) else None
        if now != id:
            with contextlib.suppress(FileNotFoundError):
                inside.unlink(PINNED)  # by now it is on another checkpoint, which nobody pinned
            raise CheckpointReplacedError(path, id, now)
        return True


def unpin(disk: Storage, path: str) -> bool:
    """Remove the pin; False if there was none.

    Raises:
        CheckpointNotFoundError: there is no checkpoint.
        SaveError: the disk refused.
    """
    with _failing(path), disk.open_directory(path) as inside:
        if not is_pinned_inside(inside):
            return False
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            inside.unlink(PINNED)
        inside.sync()
        return True


def is_pinned(disk: Storage, path: str) -> bool:
    """Whether there is a pin; False where there is no bundle."""
    try:
        with disk.open_directory(path) as inside:
            return is_pinned_inside(inside)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_pinned_inside(inside: Directory) -> bool:
    return PINNED in inside.names()


def file_sizes(disk: Storage, path: str) -> dict[Hashable, int]:
    """The bytes of the bundle's files by file identity; empty if it is gone."""
    sizes: dict[Hashable, int] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), disk.open_directory(path) as inside:
        for name in inside.names():
            with contextlib.suppress(FileNotFoundError):
                status = inside.status(name)
                if status.is_file:
                    sizes[status.identity] = status.size
    return sizes


@contextlib.contextmanager
def _failing(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as err:
        if isinstance(err, CheckpointNotFoundError):
            raise
        raise CheckpointNotFoundError(path) from None
    except (CheckpointReplacedError, SaveError):
        raise
    except OSError as err:
        raise NotChangedError(path, f"its pin cannot be changed: {err.strerror}") from err
