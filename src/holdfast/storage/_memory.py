"""A disk in memory, with POSIX semantics: for tests of the commit protocol, and for experiments."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from ._protocol import Buffer, Status


@dataclass(slots=True, eq=False)
class _File:
    data: bytearray = field(default_factory=bytearray)
    links: int = 1
    modified_s: float = 0.0
    held: bool = False


@dataclass(slots=True, eq=False)
class _Folder:
    entries: dict[str, _File | _Folder] = field(default_factory=dict)
    modified_s: float = 0.0
    removed: bool = False  # still open somewhere, but nothing can be put into it


class MemoryDisk:
    """Files and folders in a tree; `clock` (seconds) dates them, and counts operations by default."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        ticks = itertools.count()
        self._clock = clock or (lambda: float(next(ticks)))
        self._root = _Folder()

    def mkdir(self, path: str) -> None:
        folder, name = self._place(path)
        if name in folder.entries:
            raise _error(errno.EEXIST, path)
        folder.entries[name] = _Folder(modified_s=self.now())

    def rename(self, old: str, new: str) -> None:
        source, old_name = self._place(old)
        target, new_name = self._place(new)
        if old_name not in source.entries:
            raise _error(errno.ENOENT, old)
        replaced = target.entries.get(new_name)
        if isinstance(replaced, _File):
            raise _error(errno.ENOTDIR, new)
        if replaced is not None and replaced.entries:
            raise _error(errno.ENOTEMPTY, new)
        if replaced is not None:
            replaced.removed = True
        target.entries[new_name] = source.entries.pop(old_name)

    def rmdir(self, path: str) -> None:
        folder, name = self._place(path)
        removed = self._folder(path)
        if removed.entries:
            raise _error(errno.ENOTEMPTY, path)
        removed.removed = True
        del folder.entries[name]

    def sync_file(self, path: str) -> None:
        self._file(path)

    def open_directory(self, path: str) -> _Directory:
        return _Directory(self, self._folder(path))

    def folders(self, path: str) -> list[str]:
        return [name for name, entry in self._folder(path).entries.items() if isinstance(entry, _Folder)]

    def now(self) -> float:
        return self._clock()

    def _folder(self, path: str) -> _Folder:
        folder = self._root
        for part in _parts(path):
            found = folder.entries.get(part)
            if found is None:
                raise _error(errno.ENOENT, path)
            if not isinstance(found, _Folder):
                raise _error(errno.ENOTDIR, path)
            folder = found
        return folder

    def _file(self, path: str) -> _File:
        folder, name = self._place(path)
        return _file_in(folder, name)

    def _place(self, path: str) -> tuple[_Folder, str]:
        if not _parts(path):
            raise _error(errno.EEXIST, path)  # the root
        *above, name = _parts(path)
        return self._folder("/".join(above)), name


class _Directory:
    def __init__(self, disk: MemoryDisk, folder: _Folder) -> None:
        self._disk, self._folder = disk, folder
        self.identity: object = folder

    def names(self) -> list[str]:
        return list(self._folder.entries)

    def open(self, name: str, *, fresh: bool = False) -> _ReadFile:
        return _ReadFile(_file_in(self._folder, name))

    def status(self, name: str) -> Status:
        found = self._folder if name == "." else self._folder.entries.get(name)
        if isinstance(found, _Folder):
            return Status(0, found.modified_s, 2, is_file=False, identity=found)
        file = _file_in(self._folder, name)
        return Status(len(file.data), file.modified_s, file.links, is_file=True, identity=id(file))

    def create(self, name: str, *, expected_size: int = 0) -> _WriteFile:
        file = _File(modified_s=self._disk.now())
        self._enter(name, file)
        return _WriteFile(file, self._disk.now)

    def link(self, source: str, name: str) -> None:
        file = self._disk._file(source)
        self._enter(name, file)
        file.links += 1

    def rename(self, old: str, new: str) -> None:
        moved = _file_in(self._folder, old)
        replaced = self._folder.entries.get(new)
        if isinstance(replaced, _Folder):
            raise _error(errno.EISDIR, new)
        if replaced is moved:
            return  # POSIX: two names of one file stay as they are
        if replaced is not None:
            replaced.links -= 1
        self._folder.entries[new] = self._folder.entries.pop(old)

    def unlink(self, name: str) -> None:
        _file_in(self._folder, name).links -= 1
        del self._folder.entries[name]

    def hold(self, name: str) -> _Held:
        self.create(name)
        return _Held(_file_in(self._folder, name))

    def claim(self, name: str, note: bytes) -> _Held | None:
        if name in self._folder.entries and _file_in(self._folder, name).held:
            return None
        file = self._folder.entries[name] = _File(bytearray(note), modified_s=self._disk.now())
        return _Held(file)

    def is_held(self, name: str) -> bool | None:
        return _file_in(self._folder, name).held

    def sync(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> _Directory:
        return self

    def __exit__(self, *details: object) -> None: ...

    def _enter(self, name: str, file: _File) -> None:
        if self._folder.removed:
            raise _error(errno.ENOENT, name)
        if name in self._folder.entries:
            raise _error(errno.EEXIST, name)
        self._folder.entries[name] = file
        self._folder.modified_s = self._disk.now()


class _WriteFile:
    def __init__(self, file: _File, clock: Callable[[], float]) -> None:
        self._file, self._clock = file, clock

    def write(self, *data: Buffer) -> None:
        for part in data:
            self._file.data += part
        self._file.modified_s = self._clock()

    def skip(self, size: int) -> None:
        self._file.data += bytes(size)

    def fill(self, data: Buffer) -> None:
        self._file.data[: len(data)] = data

    def sync(self) -> None: ...

    def close(self) -> None: ...


class _ReadFile:
    def __init__(self, file: _File) -> None:
        self._file = file
        self.size = len(file.data)

    def read_into(self, offset: int, *outs: memoryview) -> None:
        for out in outs:
            found = self._file.data[offset : offset + len(out)]
            if len(found) < len(out):
                raise EOFError(f"the file ends at {len(self._file.data)}")
            out[:] = found
            offset += len(out)

    def map(self) -> memoryview:
        raise OSError(errno.ENODEV, "files in memory are not mapped")

    def close(self) -> None: ...


class _Held:
    def __init__(self, file: _File) -> None:
        self._file = file
        file.held = True

    @property
    def is_there(self) -> bool:
        return self._file.links > 0

    def release(self) -> None:
        self._file.held = False


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _file_in(folder: _Folder, name: str) -> _File:
    found = folder.entries.get(name)
    if found is None:
        raise _error(errno.ENOENT, name)
    if not isinstance(found, _File):
        raise _error(errno.EISDIR, name)
    return found


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)
