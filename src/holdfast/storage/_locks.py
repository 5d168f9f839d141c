"""Locks on files of an open directory, which belong to whoever has the file open, and end with the process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import struct
from collections.abc import Iterator

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_THERE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)

# A lock of the open file, where there are such: POSIX drops a process's own as soon as it closes *any* descriptor of the
# file, which a copy of the directory does. A fork would share it, so a child closes what it has of it.
_OF_FILE: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_OF_FILE_WAIT: int | None = getattr(fcntl, "F_OFD_SETLKW", None)
_ENTIRE_FILE = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # C's `struct flock`

_OF = b" in %d"
_OF_FOUND = re.compile(rb" in (\d+)\Z")
"""Which directory a claim is on, at the end of its note: a copy by links (`cp -al`) has the same file of locks."""

# Where there are only POSIX's, this process must never open a file that it holds itself, only to see whether it is held.
_held_here: dict[tuple[int, int], Held] = {}


class Held:
    """A locked file. `place`: the directory that it is a claim on, 0 if it is none."""

    def __init__(self, descriptor: int, place: int = 0) -> None:
        self.descriptor, self.place = descriptor, place
        self.identity = _identity(os.fstat(descriptor))
        _held_here.setdefault(self.identity, self)

    @property
    def is_there(self) -> bool:
        """Whether the file has a name, wherever its directory may be now."""
        return self.descriptor >= 0 and os.fstat(self.descriptor).st_nlink > 0

    def release(self) -> None:
        """Release the lock (the file stays)."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return  # another process may hold it by now
        if _held_here.get(self.identity) is self:
            del _held_here[self.identity]
        os.close(descriptor)

    def __del__(self) -> None:
        if (
            hasattr(self, "identity") and _held_here is not None
        ):  # else the interpreter ends, and the lock with it
            self.release()


def hold(folder: int, name: str) -> Held:
    """As `Directory.hold`, in the directory that is open as `folder`."""
    held = Held(os.open(name, _NEW, 0o666, dir_fd=folder))
    _lock(held, wait=True)  # a process that checks whether it is held has it for an instant
    return held


def claim(folder: int, name: str, note: bytes) -> Held | None:
    """As `Directory.claim`. A file that another directory has too is not written to: ours gets one of its own."""
    place = os.fstat(folder).st_ino
    while True:
        with contextlib.suppress(FileNotFoundError):
            if is_held(folder, name):
                return None
        held = Held(os.open(name, _THERE | os.O_CREAT, 0o666, dir_fd=folder), place)
        if os.fstat(held.descriptor).st_nlink > 1:
            _replace_linked(folder, name, held)
        elif not _lock(held):
            return None
        elif _is_at(folder, name, held):
            os.ftruncate(held.descriptor, 0)
            os.pwrite(held.descriptor, note + _OF % place, 0)
            return held
        else:
            held.release()


def is_held(folder: int, name: str) -> bool | None:
    """As `Directory.is_held`."""
    place = os.fstat(folder).st_ino
    about = os.stat(name, dir_fd=folder, follow_symlinks=False)
    here = _held_here.get(_identity(about))
    if here is not None:
        return about.st_nlink == 1 or here.place in (0, place)
    descriptor = os.open(name, _THERE, dir_fd=folder)
    try:
        _take_lock(descriptor)
    except OSError as err:
        if err.errno not in (errno.EAGAIN, errno.EACCES):
            return None
        of = _OF_FOUND.search(os.pread(descriptor, 4096, 0))
        return about.st_nlink == 1 or of is None or int(of[1]) == place
    else:
        return False
    finally:
        os.close(descriptor)


def _replace_linked(folder: int, name: str, linked: Held) -> None:
    """Give the name to a new file. Whoever holds the linked one holds another directory, or `is_held` would say so."""
    own = f"{name}.{secrets.token_hex(8)}"
    with _alone(folder):
        if _is_at(folder, name, linked):  # else another process was quicker
            os.close(os.open(own, _NEW, 0o666, dir_fd=folder))
            os.rename(own, name, src_dir_fd=folder, dst_dir_fd=folder)
    linked.release()


@contextlib.contextmanager
def _alone(folder: int) -> Iterator[None]:
    """One process at a time, where directories can be locked."""
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_UN)


def _is_at(folder: int, name: str, held: Held) -> bool:
    try:
        return _identity(os.stat(name, dir_fd=folder, follow_symlinks=False)) == held.identity
    except FileNotFoundError:
        return False


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _lock(held: Held, *, wait: bool = False) -> bool:
    """Take the lock; False if another process has it. Where locks are not supported, always True."""
    try:
        _take_lock(held.descriptor, wait=wait)
    except OSError as err:
        if err.errno in _NO_LOCKS:
            return True
        held.release()
        if err.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _take_lock(descriptor: int, *, wait: bool = False) -> None:
    command = _OF_FILE_WAIT if wait else _OF_FILE
    if command is not None:
        try:
            fcntl.fcntl(descriptor, command, _ENTIRE_FILE)
            return
        except OSError as err:
            if err.errno not in _NO_LOCKS:
                raise
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, how)  # BSD's belong to the open file, too
    except OSError as err:
        if err.errno not in _NO_LOCKS:
            raise
        fcntl.lockf(descriptor, how)


def _let_go_as_child() -> None:
    for held in [*_held_here.values()]:
        held.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_as_child)
