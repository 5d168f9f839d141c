"""The record of a bundle whose directory is open, and other small files, read at once."""

from __future__ import annotations

from contextlib import closing

from ..errors import CheckpointDamagedError
from ..records import CheckpointRecord
from ..storage import Directory, ReadFile, Storage
from ._format.names import RECORD
from ._format.record import MAX_RECORD_BYTES, decode_record


def read_record(directory: Directory, place: str) -> CheckpointRecord:
    """The record of the bundle `place`, which is open as `directory`.

    Raises:
        FileNotFoundError: there is none.
        CheckpointDamagedError, FormatVersionError: it cannot be trusted, or is too new.
    """
    try:
        file = directory.open(RECORD)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise CheckpointDamagedError(place, f"its record cannot be opened ({err.strerror})") from err
    with closing(file):
        return decode_record(bytes(read_bounded(file, MAX_RECORD_BYTES, place, "record")), place)


def is_at(disk: Storage, path: str, inside: Directory) -> bool:
    """Whether `path` is the directory that we have open; False, too, where it cannot be opened."""
    try:
        with disk.open_directory(path) as now:
            return now.identity == inside.identity
    except OSError:
        return False


def read_bounded(file: ReadFile, limit: int, place: str, what: str) -> bytearray:
    """All bytes of a small file of the bundle `place`.

    Raises:
        CheckpointDamagedError: there are more than `limit`, or the disk fails.
    """
    if file.size > limit:
        raise CheckpointDamagedError(place, f"its {what} would be {file.size} bytes long")
    data = bytearray(file.size)
    try:
        file.read_into(0, memoryview(data))
    except (EOFError, OSError) as err:
        raise CheckpointDamagedError(place, f"its {what} cannot be read ({err})") from err
    return data
