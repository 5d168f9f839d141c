"""Disk usage of bundles; files that they share count once."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ...bundle import PINNED


@dataclass(frozen=True, slots=True)
class Share:
    """Disk usage of some bundles among others.

    `size`: all their files, each once; `unique`: files that none of the other bundles has; `shared`: the rest;
    `frees`: files that have no other name anywhere, which deleting them gives back.
    """

    size: int
    unique: int
    shared: int
    frees: int


class Sharing:
    """Which bundles have which files; each file is known by its inode."""

    def __init__(self, bundles: Iterable[str]) -> None:
        files = {path: list(_files(path)) for path in bundles}
        self._names = {path: [_key(found) for found in those] for path, those in files.items()}
        self._about = {_key(found): found for those in files.values() for found in those}
        self._known = Counter(key for keys in self._names.values() for key in keys)

    def of(self, bundles: Iterable[str] | None = None) -> Share:
        """The usage of these bundles together, or of all."""
        names = (
            self._known if bundles is None else Counter(key for each in bundles for key in self._names[each])
        )
        sizes = {key: self._about[key].st_size for key in names}
        unique = sum(sizes[key] for key, number in names.items() if number == self._known[key])
        size = sum(sizes.values())
        frees = sum(sizes[key] for key, number in names.items() if number == self._about[key].st_nlink)
        return Share(size, unique, size - unique, frees)

    @property
    def copies(self) -> int:
        """Bytes that complete copies would take."""
        return sum(self._about[key].st_size * number for key, number in self._known.items())

    @property
    def allocated(self) -> int:
        """Bytes of the disk's blocks that hold all files."""
        return sum(found.st_blocks * 512 for found in self._about.values())


class Watched:
    """The files of a bundle, held open to see which of them a deletion has really freed."""

    def __init__(self, path: str) -> None:
        self._descriptors: list[int] = []
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                # Only regular files, and without waiting: opening anything else could have side effects.
                if entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                        self._descriptors.append(os.open(entry.path, flags))

    def release(self) -> tuple[int, int]:
        """Close the files; bytes of those without a name any more, and of those that others still hold."""
        found = {_key(status): status for status in map(os.fstat, self._descriptors)}
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        freed = sum(status.st_size for status in found.values() if status.st_nlink == 0)
        return freed, sum(status.st_size for status in found.values()) - freed


def is_pinned(path: str) -> bool:
    """Whether the bundle has a pin: one system call, for listings of many."""
    return os.path.lexists(os.path.join(path, PINNED))


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _files(path: str) -> Iterable[os.stat_result]:
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield found
