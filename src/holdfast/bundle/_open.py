"""Opening a bundle: its record, and every file that the record names."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from blake3 import blake3

from ..errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    CheckpointReplacedError,
    CheckpointUnreadableError,
    HoldfastError,
    TooManyOpenFilesError,
)
from ..records import CheckpointRecord, FileEntry, PartEntry
from ..storage import Directory, ReadFile, Storage
from ._format.names import RECORD
from ._format.part import MAX_PART_BYTES, Part, decode_part
from ._format.record import MAX_RECORD_BYTES, decode_record

_ATTEMPTS = 5
_NO_REGULAR_FILE = {errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.ENOTDIR}


def read_record(directory: Directory, place: str) -> CheckpointRecord:
    """The record of the bundle `place`, which is open as `directory`.

    Raises:
        FileNotFoundError: there is none.
        CheckpointDamagedError, FormatVersionError: it cannot be trusted, or is too new.
        CheckpointUnreadableError: the system refuses to read it.
    """
    try:
        file = directory.open(RECORD)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise unreadable(place, "its record cannot be opened", err) from err
    with closing(file):
        return decode_record(bytes(read_bounded(file, MAX_RECORD_BYTES, place, "record")), place)


def open_files(
    disk: Storage, path: str, expected_id: str | None
) -> tuple[CheckpointRecord, dict[str, ReadFile], list[Part]]:
    """The record of the bundle at `path`, the files that it and its parts name, and the parts.

    Raises: as `Bundle`.
    """
    missing = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(0.001 * attempt)  # an overwrite is removing the files that the record named
        files: dict[str, ReadFile] = {}
        parts: list[Part] = []
        try:
            with disk.open_directory(path) as directory:
                record = read_record(directory, path)
                if expected_id not in (None, record.id):
                    raise CheckpointReplacedError(path, str(expected_id), record.id)
                missing = _open_all(directory, path, (record.tree, *record.packs, *record.parts), files)
                if missing is None and record.parts:
                    parts = _read_parts(path, record, files)
                    missing = _open_all(directory, path, _packs_of(path, record, parts), files)
        except NotADirectoryError:
            raise CheckpointNotFoundError(path, "this is not the directory of a checkpoint") from None
        except FileNotFoundError:
            missing = None  # it is being deleted, or was deleted
            continue
        except ValueError:  # NUL in the path
            raise CheckpointNotFoundError(path, "this is not a path") from None
        except HoldfastError:
            _close(files)
            raise
        except OSError as err:
            raise unreadable(path, "it cannot be opened", err) from err
        if missing is None:
            return record, files, parts
        _close(files)
    if missing:
        raise CheckpointDamagedError(path, f"{missing} is missing")
    raise CheckpointNotFoundError(path)


def _close(files: dict[str, ReadFile]) -> None:
    for file in files.values():
        file.close()


def _open_all(
    directory: Directory, place: str, entries: Sequence[FileEntry], files: dict[str, ReadFile]
) -> str | None:
    """Open these; returns the name of one that is not there."""
    for entry in entries:
        try:
            file = files[entry.name] = directory.open(entry.name)
        except FileNotFoundError:
            return entry.name
        except OSError as err:
            raise unreadable(place, f"{entry.name} cannot be opened", err) from err
        if file.size != entry.size:
            what = f"{entry.name} has {file.size} bytes instead of {entry.size}"
            raise CheckpointDamagedError(place, what)
    return None


def _read_parts(place: str, record: CheckpointRecord, files: Mapping[str, ReadFile]) -> list[Part]:
    return [
        read_part(files[entry.name], entry, place, record.id, rank) for rank, entry in enumerate(record.parts)
    ]


def read_part(file: ReadFile, entry: PartEntry, place: str, id: str, rank: int) -> Part:
    """What the process of this rank wrote, checked against the digest that the record has.

    Raises:
        CheckpointDamagedError: it is not what was saved.
        CheckpointUnreadableError: the system refuses to read it.
    """
    data = read_bounded(file, MAX_PART_BYTES, place, f"part {entry.name}")
    if blake3(data).hexdigest() != entry.digest:
        raise CheckpointDamagedError(place, f"its part {entry.name} has another digest than recorded")
    part = decode_part(data, place, id, rank)
    if part.packs_size != entry.packs_size:
        raise CheckpointDamagedError(place, f"the packs of part {entry.name} have another size than recorded")
    return part


def _packs_of(place: str, record: CheckpointRecord, parts: Sequence[Part]) -> list[FileEntry]:
    """The packs of all parts, none of which is named twice."""
    packs = [pack for part in parts for pack in part.packs]
    if len({each.name for each in (*record.packs, *packs)}) != len(record.packs) + len(packs):
        raise CheckpointDamagedError(place, "a pack is named by two of its parts")
    return packs


def named_files(directory: Directory, place: str, record: CheckpointRecord) -> list[str]:
    """The names of all files of the bundle besides the record, those that only its parts name included.

    Raises: as `read_part`; FileNotFoundError if a part is missing.
    """
    names = [each.name for each in (record.tree, *record.packs, *record.parts)]
    for rank, entry in enumerate(record.parts):
        with closing(directory.open(entry.name)) as file:
            names += [pack.name for pack in read_part(file, entry, place, record.id, rank).packs]
    return names


def unreadable(place: str, what: str, err: OSError) -> CheckpointDamagedError | CheckpointUnreadableError:
    """The error for what the system did not open or read: damage only where something else lies in a file's place."""
    if err.errno in (errno.EMFILE, errno.ENFILE):
        return TooManyOpenFilesError(place, str(err.strerror))
    if err.errno in _NO_REGULAR_FILE:
        return CheckpointDamagedError(place, f"{what} ({err.strerror})")
    code = errno.errorcode.get(err.errno or 0, "errno ?")
    return CheckpointUnreadableError(place, f"{what} ({err.strerror or err} [{code}])")


def is_at(disk: Storage, path: str, inside: Directory) -> bool:
    """Whether `path` is the directory that we have open; OSError where that cannot be known."""
    try:
        with disk.open_directory(path) as now:
            return now.identity == inside.identity
    except (FileNotFoundError, NotADirectoryError):
        return False


def read_bounded(file: ReadFile, limit: int, place: str, what: str) -> bytearray:
    """All bytes of a small file of the bundle `place`.

    Raises:
        CheckpointDamagedError: there are more than `limit`, or fewer than its size says.
        CheckpointUnreadableError: the disk fails.
    """
    if file.size > limit:
        raise CheckpointDamagedError(place, f"its {what} would be {file.size} bytes long")
    data = bytearray(file.size)
    try:
        file.read_into(0, memoryview(data))
    except EOFError as err:
        raise CheckpointDamagedError(place, f"its {what} cannot be read ({err})") from err
    except OSError as err:
        raise unreadable(place, f"its {what} cannot be read", err) from err
    return data
