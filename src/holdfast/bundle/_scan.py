"""Finding checkpoints: a walk that reads nothing but records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CheckpointDamagedError, HoldfastError
from ..records import CheckpointRecord
from ..storage import Storage
from ._names import SUFFIX
from ._read import read_record


@dataclass(frozen=True, slots=True)
class Listed:
    """A bundle that is there: its record, or why it has none that can be trusted."""

    path: str
    record: CheckpointRecord | None
    problem: HoldfastError | None = None


def scan(disk: Storage, directory: str, *, depth: int = 16) -> Iterator[Listed]:
    """Every bundle below `directory`, in no order. Hidden folders and symbolic links are not followed."""
    try:
        folders = disk.folders(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in folders:
        path = f"{directory}/{name}"
        if name.endswith(SUFFIX):
            listed = look(disk, path)
            if listed:
                yield listed
        elif depth and not name.startswith(".") and f"{SUFFIX}.damaged-" not in name:
            yield from scan(disk, path, depth=depth - 1)


def by_age(listed: Listed) -> tuple[tuple[int, str, str], str]:
    """Sorts oldest first, and what has no record before all others."""
    return listed.record.age_key if listed.record else (-1, "", ""), listed.path


def look(disk: Storage, path: str) -> Listed | None:
    """What the bundle at `path` says of itself; None if it is not there."""
    try:
        with disk.open_directory(path) as inside:
            return Listed(path, read_record(inside, path))
    except FileNotFoundError:
        return _without_record(disk, path)
    except HoldfastError as err:
        err.__context__ = None  # a list of problems must not keep alive what was read to find them
        return Listed(path, None, err.with_traceback(None))
    except OSError as err:
        return Listed(path, None, CheckpointDamagedError(path, f"it cannot be opened ({err.strerror})"))


def _without_record(disk: Storage, path: str) -> Listed | None:
    try:
        disk.open_directory(path).close()
    except OSError:
        return None
    return Listed(path, None, CheckpointDamagedError(path, "it has no record"))
