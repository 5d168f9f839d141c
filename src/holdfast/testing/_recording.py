"""A disk in memory that records everything done to it, for `crash_states`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._image import EMPTY, ROOT, Change, Image, apply
from ._tapped import Operation, Result, TappedDisk


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a disk.

    `kind`: "names" (`changes` are (directory, name, new inode or None); `inode` is that of a new directory),
    "write" (`data` at `offset` of the file `inode`), "sync" (of `inode`, file or directory), or "mark" (`note`).
    """

    kind: str
    inode: int = 0
    changes: tuple[Change, ...] = ()
    offset: int = 0
    data: bytes = b""
    note: Any = None

    @property
    def makes_directory(self) -> bool:
        return self.kind == "names" and self.inode != ROOT


class RecordingDisk(TappedDisk):
    """A disk in memory that records its `events`. `mark` records what callers were promised, and when.

    `start`: what is on it, durably, at the beginning.
    """

    def __init__(self, clock: Callable[[], float] | None = None, start: Image = EMPTY) -> None:
        super().__init__(start.disk(clock))
        self.start = start
        self.events: list[Event] = []
        self._entries = {folder: dict(names) for folder, names in start.entries.items()}
        self._first_new = start.next_inode
        self._folders: dict[object, int] = {}
        self._files: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def mark(self, note: Any) -> None:
        self.events.append(Event("mark", note=note))

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        result = do()
        record = getattr(self, f"_after_{operation.kind}", None)
        if record is not None:
            record(operation)
        if operation.kind == "open_directory":
            self._folders[result.identity] = self._find(operation.path)  # type: ignore[attr-defined]
        return result

    def _after_mkdir(self, operation: Operation) -> None:
        inode = self._new_inode()
        self._entries[inode] = {}
        self._change((*self._place(operation.path), inode), directory=inode)

    def _after_rename_directory(self, operation: Operation) -> None:
        old, new = self._place(operation.path), self._place(operation.to)
        self._change((*old, None), (*new, self._find(operation.path)))

    def _after_rmdir(self, operation: Operation) -> None:
        self._change((*self._place(operation.path), None))

    def _after_create(self, operation: Operation) -> None:
        inode = self._files[operation.file] = self._new_inode()
        self._change((self._inside(operation), _name(operation.path), inode))

    _after_hold = _after_create

    def _after_claim(self, operation: Operation) -> None:
        if _name(operation.path) not in self._entries[self._inside(operation)]:
            self._after_create(operation)

    def _after_link(self, operation: Operation) -> None:
        self._change((self._inside(operation), _name(operation.to), self._find(operation.path)))

    def _after_rename(self, operation: Operation) -> None:
        inside, old = self._inside(operation), _name(operation.path)
        inode = self._entries[inside][old]
        self._change((inside, old, None), (inside, _name(operation.to), inode))

    def _after_unlink(self, operation: Operation) -> None:
        self._change((self._inside(operation), _name(operation.path), None))

    def _after_write(self, operation: Operation) -> None:
        inode = self._files[operation.file]
        self._record_write(inode, self._ends.get(inode, 0), bytes(operation.data))

    _after_skip = _after_write

    def _after_fill(self, operation: Operation) -> None:
        self._record_write(self._files[operation.file], 0, bytes(operation.data))

    def _after_sync(self, operation: Operation) -> None:
        self.events.append(Event("sync", self._files[operation.file]))

    def _after_sync_file(self, operation: Operation) -> None:
        self.events.append(Event("sync", self._find(operation.path)))

    def _after_sync_directory(self, operation: Operation) -> None:
        self.events.append(Event("sync", self._inside(operation)))

    def _record_write(self, inode: int, offset: int, data: bytes) -> None:
        self._ends[inode] = max(self._ends.get(inode, 0), offset + len(data))
        self.events.append(Event("write", inode, offset=offset, data=data))

    def _change(self, *changes: tuple[int, str, int | None], directory: int = ROOT) -> None:
        self.events.append(Event("names", directory, changes))
        apply(self._entries, changes)

    def _new_inode(self) -> int:
        return self._first_new + len(self.events)  # each new inode comes with an event

    def _inside(self, operation: Operation) -> int:
        return self._folders[operation.folder]

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._find(above), name

    def _find(self, path: str) -> int:
        inode = ROOT
        for part in path.split("/"):
            if part not in ("", "."):
                inode = self._entries[inode][part]
        return inode


def _name(path: str) -> str:
    return path.rpartition("/")[2]
