"""What is on a disk, by inode: quick to copy, to compare, and to turn into a disk."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..storage import MemoryDisk, Storage

ROOT = 0
Change: TypeAlias = tuple[int, str, int | None]
"""A name in a directory (its inode) and what it means from now on; None: nothing."""


@dataclass(frozen=True, slots=True)
class Image:
    """Directories and the bytes of files, both by inode. The names in a directory are files or directories."""

    entries: Mapping[int, Mapping[str, int]] = field(default_factory=lambda: {ROOT: {}})
    contents: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def next_inode(self) -> int:
        return 1 + max([*self.entries, *self.contents], default=ROOT)

    def paths(self, folder: int = ROOT, above: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Every path with the file's bytes; None for a directory."""
        for name, inode in sorted(self.entries.get(folder, {}).items()):
            if inode in self.entries:
                yield f"{above}{name}", None
                yield from self.paths(inode, f"{above}{name}/")
            else:
                yield f"{above}{name}", self.contents.get(inode, b"")

    @property
    def key(self) -> Hashable:
        """Equal for two images that a reader of the disk could tell apart only by counting links."""
        return tuple(self.paths())

    def disk(self, clock: Callable[[], float] | None = None) -> MemoryDisk:
        """A disk with this on it; files with several names are hard links."""
        disk = MemoryDisk(clock)
        self._fill(disk, ROOT, "", {})
        return disk

    def _fill(self, disk: MemoryDisk, folder: int, path: str, first_names: dict[int, str]) -> None:
        with disk.open_directory(path) as inside:
            for name, inode in self.entries.get(folder, {}).items():
                here = f"{path}/{name}"
                if inode in self.entries:
                    disk.mkdir(here)
                    self._fill(disk, inode, here, first_names)
                elif inode in first_names:
                    inside.link(first_names[inode], name)
                else:
                    inside.create(name).write(self.contents.get(inode, b""))
                    first_names[inode] = here


EMPTY = Image()


def image_of(disk: Storage) -> Image:
    """What is on a disk now; every name counts as a file of its own."""
    entries: dict[int, dict[str, int]] = {}
    contents: dict[int, bytes] = {}

    def read(path: str) -> int:
        number = len(entries) + len(contents)
        here = entries[number] = {}
        folders = disk.folders(path)
        with disk.open_directory(path) as inside:
            for name in inside.names():
                if name in folders:
                    here[name] = read(f"{path}/{name}")
                else:
                    file = inside.open(name)
                    data = bytearray(file.size)
                    file.read_into(0, memoryview(data))
                    file.close()
                    here[name] = inode = len(entries) + len(contents)
                    contents[inode] = bytes(data)
        return number

    read("")
    return Image(entries, contents)


def apply(entries: dict[int, dict[str, int]], changes: Sequence[Change]) -> None:
    """Apply these changes of names. A directory has one name: where the move before is lost, it is moved all the same."""
    for folder, name, inode in changes:
        if inode is None:
            entries.setdefault(folder, {}).pop(name, None)
            continue
        if inode in entries:
            for names in entries.values():
                for other in [each for each, meant in names.items() if meant == inode]:
                    del names[other]
        entries.setdefault(folder, {})[name] = inode
