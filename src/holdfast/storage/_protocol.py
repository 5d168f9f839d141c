"""What Holdfast requires of a disk: exclusive creation, atomic rename, hard links, and honest syncs.

All failures are `OSError` with an errno. Existence is never queried: it is decided by exclusive
creation and by listing, because some file systems remember a failed look-up for half a minute.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Status:
    """What the disk reports about a file or directory. `modified_s` is by the disk's own clock."""

    size: int
    modified_s: float
    links: int
    is_file: bool
    identity: Hashable
    """Equal for two names of the same file."""


class WriteFile(Protocol):
    """A new file, being written from its beginning."""

    def write(self, *data: Buffer) -> None:
        """Write all of `data`, one after the other, however many calls that takes; it must not change until `sync` or `fill`."""
        ...

    def skip(self, size: int) -> None:
        """Before anything is written: leave `size` bytes (a multiple of 4096) free at the beginning."""
        ...

    def fill(self, data: Buffer) -> None:
        """Write the bytes that were left free; nothing is written after that."""
        ...

    def sync(self) -> None:
        """Return once everything written is on the medium."""
        ...

    def close(self) -> None: ...


class ReadFile(Protocol):
    """An open regular file; stays readable when its name is removed."""

    @property
    def size(self) -> int: ...

    def read_into(self, offset: int, *outs: memoryview) -> None:
        """Fill these, one after the other, from `offset` on; EOFError if the file is shorter. Thread-safe."""
        ...

    def map(self) -> memoryview:
        """Its `size` bytes as read-only memory that stays valid after the file is closed; OSError if it cannot be mapped.

        Access beyond the end of a file truncated since ends the process (SIGBUS).
        """
        ...

    def close(self) -> None: ...


class Directory(Protocol):
    """An open directory: its files are reached by it, whatever its path refers to by then."""

    @property
    def identity(self) -> object:
        """Equal for two openings of the same directory, by whatever path they were opened."""
        ...

    def names(self) -> list[str]:
        """The names in it, in no order."""
        ...

    def open(self, name: str, *, fresh: bool = False) -> ReadFile:
        """Open a regular file; OSError for links, devices and the like (ELOOP, EINVAL).

        `fresh`: what is read comes from the medium where the system can do that, not from its memory.
        """
        ...

    def status(self, name: str) -> Status:
        """Metadata of the name itself (`.`: of the directory): symbolic links are not followed."""
        ...

    def create(self, name: str, *, expected_size: int = 0) -> WriteFile:
        """Create a file for writing, of about `size` bytes; FileExistsError if the name is taken."""
        ...

    def link(self, source: str, name: str) -> None:
        """Give the file at the path `source` a second name, here."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomic; `new` is replaced."""
        ...

    def unlink(self, name: str) -> None: ...

    def hold(self, name: str) -> Held:
        """Create an owner file and lock it for the life of this process."""
        ...

    def claim(self, name: str, note: bytes) -> Held | None:
        """Lock a file that may exist already and make `note` its content; None if a live process has it."""
        ...

    def is_held(self, name: str) -> bool | None:
        """Whether a live process holds the lock on this file; None if unknown."""
        ...

    def sync(self) -> None:
        """Make the names in it durable."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Directory: ...

    def __exit__(self, *details: object) -> None: ...


class Held(Protocol):
    """A locked owner file; releases itself when the process dies."""

    @property
    def is_there(self) -> bool:
        """Whether the file has a name, wherever its directory may be now."""
        ...

    def release(self) -> None:
        """Release the lock (the file stays)."""
        ...


class Storage(Protocol):
    """A disk. Paths are absolute or relative to the working directory, with `/`."""

    def mkdir(self, path: str) -> None:
        """Create; FileExistsError if the name is taken."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomic, of a directory: replaces nothing or an empty directory, else ENOTEMPTY or EEXIST."""
        ...

    def rmdir(self, path: str) -> None: ...

    def sync_file(self, path: str) -> None:
        """Make an existing file's bytes durable."""
        ...

    def open_directory(self, path: str) -> Directory: ...

    def folders(self, path: str) -> list[str]:
        """The names in a directory that are directories, in no order."""
        ...
