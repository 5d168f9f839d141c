"""A zip archive written from its beginning to its end, its members stored as they are."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..storage import WriteFile

_LOCAL_HEADER = 30  # bytes, before the name
_ZIP64 = 20  # bytes of the extra field that carries 64-bit sizes
_PADDING_ID = 0x4246


class _Sink:
    """A file as `zipfile` wants it, that can neither seek nor tell."""

    def __init__(self, file: WriteFile) -> None:
        self._file = file
        self.size = 0
        self.is_abandoned = False

    def write(self, data: bytes | memoryview) -> int:
        if not self.is_abandoned:
            self._file.write(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Everything is written at once."""


class ZipWriter:
    """Adds members; `alignment`: of their data within the file, so that they can be mapped into memory."""

    def __init__(self, file: WriteFile, alignment: int = 1) -> None:
        self._sink = _Sink(file)
        self._alignment = alignment
        self._zip = zipfile.ZipFile(self._sink, "w")  # type: ignore[arg-type]

    def add(self, name: str, runs: Iterable[bytes | memoryview]) -> None:
        member = zipfile.ZipInfo(name)  # of 1980: equal states give equal files
        start = self._sink.size + _LOCAL_HEADER + len(name.encode()) + _ZIP64 + 4
        padding = -start % self._alignment
        if self._alignment > 1:
            member.extra = struct.pack("<HH", _PADDING_ID, padding) + b"\0" * padding
        with self._zip.open(member, "w", force_zip64=True) as out:
            for run in runs:
                out.write(run)

    def close(self) -> None:
        self._zip.close()

    def abandon(self) -> None:
        """Write nothing further: `zipfile` would still finish the archive when it is collected."""
        self._sink.is_abandoned = True
        self._zip.close()


@contextmanager
def zip_file(file: WriteFile, alignment: int = 1) -> Iterator[ZipWriter]:
    """An archive, finished when the block ends without an error."""
    writer = ZipWriter(file, alignment)
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()
