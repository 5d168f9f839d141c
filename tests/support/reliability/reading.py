"""Reading many disks that are nearly alike: what is equal is read once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator
from unittest import mock

from holdfast import bundle
from holdfast.bundle import _open, _read
from holdfast.bundle._format.names import RECORD
from holdfast.storage import Storage
from tests.support.reliability.lives import FOLDER, Held, read, read_file


class Reader:
    """Remembers which state was in which files."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def number(self, disk: Storage, path: str) -> int:
        """Which state the bundle holds, every byte verified."""
        key = files(disk, path)
        if key not in self._known:
            self._known[key] = read(disk, path)
        return self._known[key]

    def held(self, disk: Storage) -> Held:
        """Every bundle that is there; a damaged one is an error."""
        found: Held = {}
        for listed in bundle.scan(disk, FOLDER):
            assert listed.record is not None, listed.problem
            found[listed.path] = self.number(disk, listed.path)
        return found


def files(disk: Storage, path: str) -> tuple[tuple[str, bytes], ...]:
    """Name and bytes of each file in a bundle; what its record does not name nobody reads, and its name will do."""
    with disk.open_directory(path) as inside:
        record = read_file(inside, RECORD)
        return tuple(
            (name, read_file(inside, name) if name.encode() in record or name == RECORD else b"")
            for name in sorted(inside.names())
        )


@contextlib.contextmanager
def quick_decoding() -> Iterator[None]:
    """What the bytes of a record or tree say is decoded once, not thousands of times."""

    def once(decode: Callable[[bytes, str], object]) -> Callable[[bytes | bytearray, str], object]:
        cached = functools.cache(decode)
        return lambda data, place: cached(bytes(data), place)

    with (
        mock.patch.object(_open, "decode_record", once(_open.decode_record)),
        mock.patch.object(_read, "decode_tree", once(_read.decode_tree)),
    ):
        yield
