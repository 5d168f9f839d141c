"""A hook into all writing: every operation on a disk passes through one method first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from ..storage import Directory, Held, ReadFile, Status, Storage, WriteFile

Result = TypeVar("Result")
Buffer = bytes | bytearray | memoryview

_CHANGES = frozenset(
    {
        *("mkdir", "rename_directory", "rmdir", "sync_directory", "sync_file"),
        *("create", "link", "rename", "unlink", "hold", "claim"),
        *("write", "skip", "fill", "sync"),
    }
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call on a disk.

    `path` is what it is about, `to` the second name of a rename or link. Operations in an open directory
    have its identity as `folder`; those on a new file have the number of the file as `file`.
    """

    kind: str
    path: str
    to: str = ""
    folder: object = None
    file: int = 0
    data: Buffer = b""

    @property
    def changes(self) -> bool:
        """Whether it can change what is on the disk, or how durably."""
        return self.kind in _CHANGES


class TappedDisk(ABC):
    """A disk that does what another one does, as far as `around` allows."""

    def __init__(self, disk: Storage) -> None:
        self._disk = disk
        self.files = count(1)

    @abstractmethod
    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        """Called in place of every operation: may `do` it, fail, or wait. A `close` has to be done."""

    def parts(self, view: memoryview) -> Iterator[memoryview]:
        """How one write is done: in halves, so that an event in between leaves it torn."""
        yield from filter(None, (view[: len(view) // 2], view[len(view) // 2 :]))

    def mkdir(self, path: str) -> None:
        self.around(Operation("mkdir", path), lambda: self._disk.mkdir(path))

    def rename(self, old: str, new: str) -> None:
        self.around(Operation("rename_directory", old, new), lambda: self._disk.rename(old, new))

    def rmdir(self, path: str) -> None:
        self.around(Operation("rmdir", path), lambda: self._disk.rmdir(path))

    def sync_file(self, path: str) -> None:
        self.around(Operation("sync_file", path), lambda: self._disk.sync_file(path))

    def open_directory(self, path: str) -> Directory:
        opened = self.around(Operation("open_directory", path), lambda: self._disk.open_directory(path))
        return _TappedDirectory(self, path, opened)

    def folders(self, path: str) -> list[str]:
        return self.around(Operation("folders", path), lambda: self._disk.folders(path))


class _TappedDirectory:
    def __init__(self, tap: TappedDisk, path: str, directory: Directory) -> None:
        self._tap, self._path, self._directory = tap, path, directory

    @property
    def identity(self) -> object:
        return self._directory.identity

    def names(self) -> list[str]:
        return self._around("names", "", self._directory.names)

    def open(self, name: str, *, fresh: bool = False) -> ReadFile:
        opened = self._around("open", name, lambda: self._directory.open(name, fresh=fresh))
        return _TappedReadFile(self._tap, f"{self._path}/{name}", opened)

    def status(self, name: str) -> Status:
        return self._around("status", name, lambda: self._directory.status(name))

    def create(self, name: str, *, expected_size: int = 0) -> WriteFile:
        file = next(self._tap.files)
        created = self._around(
            "create", name, lambda: self._directory.create(name, expected_size=expected_size), file=file
        )
        return _TappedWriteFile(self._tap, f"{self._path}/{name}", file, created)

    def link(self, source: str, name: str) -> None:
        operation = Operation("link", source, f"{self._path}/{name}", self.identity)
        self._tap.around(operation, lambda: self._directory.link(source, name))

    def rename(self, old: str, new: str) -> None:
        self._around("rename", old, lambda: self._directory.rename(old, new), to=new)

    def unlink(self, name: str) -> None:
        self._around("unlink", name, lambda: self._directory.unlink(name))

    def hold(self, name: str) -> Held:
        return self._around("hold", name, lambda: self._directory.hold(name))

    def claim(self, name: str, note: bytes) -> Held | None:
        return self._around("claim", name, lambda: self._directory.claim(name, note))

    def is_held(self, name: str) -> bool | None:
        return self._around("is_held", name, lambda: self._directory.is_held(name))

    def sync(self) -> None:
        self._around("sync_directory", "", self._directory.sync)

    def close(self) -> None:
        self._directory.close()

    def __enter__(self) -> _TappedDirectory:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _around(
        self, kind: str, name: str, do: Callable[[], Result], *, to: str = "", file: int = 0
    ) -> Result:
        path = f"{self._path}/{name}" if name else self._path
        second = f"{self._path}/{to}" if to else ""
        return self._tap.around(Operation(kind, path, second, self.identity, file), do)


class _TappedWriteFile:
    def __init__(self, tap: TappedDisk, path: str, file: int, inner: WriteFile) -> None:
        self._tap, self._path, self._file, self._inner = tap, path, file, inner

    def write(self, *data: Buffer) -> None:
        together = memoryview(data[0] if len(data) == 1 else b"".join(data))
        for part in self._tap.parts(together.cast("B")):
            self._around("write", lambda part=part: self._inner.write(part), part)

    def skip(self, size: int) -> None:
        self._around("skip", lambda: self._inner.skip(size), bytes(size))

    def fill(self, data: Buffer) -> None:
        self._around("fill", lambda: self._inner.fill(data), data)

    def sync(self) -> None:
        self._around("sync", self._inner.sync)

    def close(self) -> None:
        self._around("close", self._inner.close)

    def _around(self, kind: str, do: Callable[[], None], data: Buffer = b"") -> None:
        self._tap.around(Operation(kind, self._path, file=self._file, data=data), do)


class _TappedReadFile:
    def __init__(self, tap: TappedDisk, path: str, inner: ReadFile) -> None:
        self._tap, self._path, self._inner = tap, path, inner

    @property
    def size(self) -> int:
        return self._inner.size

    def read_into(self, offset: int, *outs: memoryview) -> None:
        self._tap.around(Operation("read", self._path), lambda: self._inner.read_into(offset, *outs))

    def map(self) -> memoryview:
        return self._inner.map()

    def close(self) -> None:
        self._inner.close()
