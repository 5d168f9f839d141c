"""What a power cut can leave: every operation is recorded, and crash states are made from the record.

The model is weaker than any real local file system. Data of a file are durable only after a sync of that
file; of unsynced data each write may be there, missing, zeros, or half there. A change of names (create,
mkdir, link, rename, unlink) is durable only after a sync of every directory it touches; of the others
each may be there or not, whatever became of the ones before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from random import Random
from typing import Any, TypeVar

from ..storage import MemoryDisk
from ._tapped import Operation, TappedDisk

Result = TypeVar("Result")
_ROOT = 0
_FATES = ("whole", "missing", "zeros", "half")  # of an unsynced write


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a disk.

    `kind`: "names" (`changes` are (directory, name, new inode or None); `inode` is that of a new directory),
    "write" (`data` at `offset` of the file `inode`), "sync" (of `inode`, file or directory), or "mark" (`note`).
    """

    kind: str
    inode: int = 0
    changes: tuple[tuple[int, str, int | None], ...] = ()
    offset: int = 0
    data: bytes = b""
    note: Any = None


class RecordingDisk(TappedDisk):
    """A new disk in memory that records its `events`. `mark` notes what callers were promised, and when."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__(MemoryDisk(clock))
        self.events: list[Event] = []
        self._entries: dict[int, dict[str, int]] = {_ROOT: {}}  # of directories, by inode
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

    def _change(self, *changes: tuple[int, str, int | None], directory: int = _ROOT) -> None:
        self.events.append(Event("names", directory, changes))
        _apply(self._entries, changes)

    def _new_inode(self) -> int:
        return len(self.events) + 1  # each new inode comes with an event

    def _inside(self, operation: Operation) -> int:
        return self._folders[operation.folder]

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._find(above), name

    def _find(self, path: str) -> int:
        inode = _ROOT
        for part in path.split("/"):
            if part not in ("", "."):
                inode = self._entries[inode][part]
        return inode


def crash_states(
    events: Sequence[Event], cap: int, random: Random, *, first: int = 0
) -> Iterator[tuple[int, Callable[[], MemoryDisk]]]:
    """What may be found after a power cut: (number of events that happened, a maker of the disk).

    For every crash point from event `first` on: all combinations of what was not yet durable if these are
    at most `cap`, else all kept, all lost, each alone, and combinations drawn by `random`.
    """
    for happened in range(first, len(events) + 1):
        past = events[:happened]
        open_ends = _not_durable(past)
        for fates in _combinations([_fates_of(past[index]) for index in open_ends], cap, random):
            chosen = dict(zip(open_ends, fates, strict=True))
            yield happened, lambda past=past, chosen=chosen: _disk(past, chosen)


def _not_durable(events: Sequence[Event]) -> list[int]:
    synced: dict[int, int] = {}  # inode: the last event that synced it
    for index, event in enumerate(events):
        if event.kind == "sync":
            synced[event.inode] = index
    return [
        index
        for index, event in enumerate(events)
        if (event.kind == "write" and synced.get(event.inode, -1) < index)
        or (event.kind == "names" and any(synced.get(folder, -1) < index for folder, _, _ in event.changes))
    ]


def _fates_of(event: Event) -> tuple[str, ...]:
    return _FATES if event.kind == "write" else ("whole", "missing")


def _combinations(fates: Sequence[Sequence[str]], cap: int, random: Random) -> Iterator[tuple[str, ...]]:
    if prod(map(len, fates)) <= cap:
        yield from product(*fates)
        return
    kept, lost = tuple("whole" for _ in fates), tuple("missing" for _ in fates)
    chosen = [kept, lost]
    for index, choices in enumerate(fates):
        chosen += [(*kept[:index], fate, *kept[index + 1 :]) for fate in choices if fate != "whole"]
        chosen += [(*lost[:index], fate, *lost[index + 1 :]) for fate in choices if fate != "missing"]
    yield from chosen[:cap]
    for _ in range(cap - len(chosen)):
        yield tuple(random.choice(choices) for choices in fates)


def _disk(events: Sequence[Event], fates: dict[int, str]) -> MemoryDisk:
    entries: dict[int, dict[str, int]] = {}
    contents: dict[int, bytearray] = {}
    for index, event in enumerate(events):
        fate = fates.get(index, "whole")
        if event.kind == "names" and fate == "whole":
            _apply(entries, event.changes)
        elif event.kind == "write":
            _put(contents.setdefault(event.inode, bytearray()), event, fate)
    folders = {event.inode for event in events if event.kind == "names"}
    return _Builder(entries, contents, folders).build()


def _put(content: bytearray, event: Event, fate: str) -> None:
    if fate == "missing":
        return
    data = {
        "whole": event.data,
        "zeros": bytes(len(event.data)),
        "half": event.data[: len(event.data) // 2],
    }[fate]
    content.extend(bytes(max(0, event.offset + len(data) - len(content))))
    content[event.offset : event.offset + len(data)] = data


class _Builder:
    """Makes a disk of inodes: files with several names become hard links."""

    def __init__(
        self, entries: dict[int, dict[str, int]], contents: dict[int, bytearray], folders: set[int]
    ) -> None:
        self._entries, self._contents, self._folders = entries, contents, folders
        self._disk = MemoryDisk()
        self._first_names: dict[int, str] = {}

    def build(self) -> MemoryDisk:
        self._fill(_ROOT, "")
        return self._disk

    def _fill(self, folder: int, path: str) -> None:
        with self._disk.open_directory(path) as inside:
            for name, inode in self._entries.get(folder, {}).items():
                here = f"{path}/{name}"
                if inode in self._folders:
                    self._disk.mkdir(here)
                    self._fill(inode, here)
                elif inode in self._first_names:
                    inside.link(self._first_names[inode], name)
                else:
                    inside.create(name).write(bytes(self._contents.get(inode, b"")))
                    self._first_names[inode] = here


def _apply(entries: dict[int, dict[str, int]], changes: Sequence[tuple[int, str, int | None]]) -> None:
    for folder, name, inode in changes:
        if inode is None:
            entries.setdefault(folder, {}).pop(name, None)
        else:
            entries.setdefault(folder, {})[name] = inode


def _name(path: str) -> str:
    return path.rpartition("/")[2]
