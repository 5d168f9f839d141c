"""The local file system, by plain system calls."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
from collections.abc import Sequence

from ._direct import DIRECT_BYTES, MOST_PARTS, DirectWriter, make_direct, write_all
from ._locks import Held, claim, hold, is_held
from ._protocol import Buffer, Status

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# Some systems keep fsync cheap by not telling the medium; this is how they are made to.
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


class LocalDisk:
    """The machine's own file systems. Stateless: any number may be used side by side.

    `base`: where relative paths begin; "" is the working directory, whichever that is at each call.
    """

    _base = ""

    def __init__(self, base: str = "") -> None:
        self._base = base

    def _at(self, path: str) -> str:
        return os.path.join(self._base, path)

    def mkdir(self, path: str) -> None:
        os.mkdir(self._at(path))

    def rename(self, old: str, new: str) -> None:
        os.rename(self._at(old), self._at(new))

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    def sync_file(self, path: str) -> None:
        descriptor = os.open(self._at(path), _READ)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)

    def open_directory(self, path: str) -> _Directory:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return _Directory(os.open(self._at(path), flags), self._base)

    def folders(self, path: str) -> list[str]:
        with os.scandir(self._at(path)) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


class _Descriptor:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        # Forget the number first: after a failed close it may already belong to another file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class _Directory(_Descriptor):
    def __init__(self, descriptor: int, base: str) -> None:
        super().__init__(descriptor)
        self._base = base
        about = os.fstat(descriptor)
        self.identity: object = (about.st_dev, about.st_ino)

    def names(self) -> list[str]:
        return os.listdir(self._descriptor)

    def open(self, name: str, *, fresh: bool = False) -> _ReadFile:
        # O_NONBLOCK: a FIFO must not make us wait for its writer.
        descriptor = os.open(name, _READ | os.O_NONBLOCK, dir_fd=self._descriptor)
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return _ReadFile(descriptor, about.st_size, fresh=fresh)

    def status(self, name: str) -> Status:
        found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        return Status(
            found.st_size,
            found.st_mtime,
            found.st_nlink,
            stat.S_ISREG(found.st_mode),
            (found.st_dev, found.st_ino),
        )

    def create(self, name: str, *, expected_size: int = 0) -> _WriteFile:
        descriptor = os.open(name, _WRITE, 0o666, dir_fd=self._descriptor)
        return _WriteFile(descriptor, direct=expected_size >= DIRECT_BYTES and make_direct(descriptor))

    def link(self, source: str, name: str) -> None:
        os.link(os.path.join(self._base, source), name, dst_dir_fd=self._descriptor, follow_symlinks=False)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._descriptor)

    def hold(self, name: str) -> Held:
        return hold(self._descriptor, name)

    def claim(self, name: str, note: bytes) -> Held | None:
        return claim(self._descriptor, name, note)

    def is_held(self, name: str) -> bool | None:
        return is_held(self._descriptor, name)

    def sync(self) -> None:
        if sys.platform != "win32":  # no directory syncs there; NTFS journals its names
            _sync(self._descriptor)

    def __enter__(self) -> _Directory:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


class _WriteFile(_Descriptor):
    def __init__(self, descriptor: int, *, direct: bool) -> None:
        super().__init__(descriptor)
        self._direct = DirectWriter(descriptor) if direct else None
        self._end = 0

    def skip(self, size: int) -> None:
        self._end = size
        if self._direct is not None:
            self._direct.skip(size)

    def write(self, *data: Buffer) -> None:
        if self._direct is not None:
            self._direct.write(*data)
        else:
            self._end = write_all(self._descriptor, data, self._end)

    def fill(self, data: Buffer) -> None:
        self._flush()
        write_all(self._descriptor, [data], 0)

    def sync(self) -> None:
        self._flush()
        _sync(self._descriptor)

    def close(self) -> None:
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.stop()
        super().close()

    def _flush(self) -> None:
        if self._direct is not None:
            self._direct.flush()
            self._direct.stop()
            self._direct = None


class _ReadFile(_Descriptor):
    def __init__(self, descriptor: int, size: int, *, fresh: bool = False) -> None:
        super().__init__(descriptor)
        self.size = size
        self._fresh = fresh
        self._forget_cached()

    def close(self) -> None:
        self._forget_cached()  # so that data read only for comparison does not displace data in use
        super().close()

    def _forget_cached(self) -> None:
        if self._fresh and self._descriptor >= 0 and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def read_into(self, offset: int, *outs: memoryview) -> None:
        rest: Sequence[memoryview] = outs
        while rest:
            count = os.preadv(self._descriptor, rest[:MOST_PARTS], offset)
            if count == (size := sum(map(len, rest))):
                return
            if count == 0:
                raise EOFError(f"the file ends at {offset}, {size} bytes too early")
            offset += count
            rest = _after(rest, count)

    def map(self) -> memoryview:
        try:
            return memoryview(mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ))
        except ValueError as err:  # it is empty, or shorter than when it was opened
            raise OSError(errno.EINVAL, str(err)) from None


def _after(parts: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left of these after the first `count` bytes of all."""
    for index, part in enumerate(parts):
        if count < len(part):
            return [part[count:], *parts[index + 1 :]]
        count -= len(part)
    return []


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
            return
        except OSError as err:
            if err.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
    os.fsync(descriptor)
    # Once XFS has shut itself down (its disk failed), the fsync of a directory succeeds although the names
    # that it should have made durable are lost. This call then fails.
    os.fstat(descriptor)
