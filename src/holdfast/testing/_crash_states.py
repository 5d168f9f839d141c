"""The states in which a power cut can leave a disk.

The model is weaker than any real local file system. Data of a file are durable only after a sync of that
file; of unsynced data each write may be there, missing, zeros, or half there. A change of names (create,
mkdir, link, rename, unlink) is durable only after a sync of every directory it touches; of the others
each may be there or not, whatever became of the ones before it, but that no file system gives a directory
two names: if of two moves of one only the second is there, it is where that one took it.

Every combination is tried where there are few; else, as small changes find most faults (J. Mohan et al.,
"Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018): all kept, all lost, each
alone and each pair against both, then combinations drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import prod
from random import Random

from ._image import EMPTY, Image, apply
from ._recording import Event

_FATES = ("intact", "missing", "zeros", "half")  # of an unsynced write
_MAY_FAIL = ("intact", "missing")  # of an unsynced change of names


def crash_states(
    events: Sequence[Event], cap: int, random: Random, *, start: Image = EMPTY, first: int = 0
) -> Iterator[tuple[int, Image]]:
    """(how many events had happened, what is then on the disk), for every crash point from event `first` on.

    At most `cap` for each crash point. `start` was on the disk before, durably.
    """
    files = _Files(events, start)
    for happened in range(first, len(events) + 1):
        past = events[:happened]
        undecided = _not_durable(past)
        certain = undecided[0] if undecided else happened
        entries = {folder: dict(names) for folder, names in start.entries.items()}
        _replay(entries, past[:certain])
        fates_of = [_FATES if past[index].kind == "write" else _MAY_FAIL for index in undecided]
        for fates in _combinations(fates_of, cap, random):
            chosen = dict(zip(undecided, fates, strict=True))
            copied = {folder: dict(names) for folder, names in entries.items()}
            _replay(copied, past[certain:], chosen, certain)
            yield happened, Image(copied, files.contents(happened, chosen))


def _not_durable(past: Sequence[Event]) -> list[int]:
    synced: dict[int, int] = {}  # inode: the last event that synced it
    for index, event in enumerate(past):
        if event.kind == "sync":
            synced[event.inode] = index
    return [
        index
        for index, event in enumerate(past)
        if (event.kind == "write" and synced.get(event.inode, -1) < index)
        or (event.kind == "names" and any(synced.get(folder, -1) < index for folder, _, _ in event.changes))
    ]


def _replay(
    entries: dict[int, dict[str, int]],
    events: Sequence[Event],
    chosen: dict[int, str] | None = None,
    number: int = 0,
) -> None:
    """Do the changes of names among `events`, of which the first has this `number`, but for the lost ones."""
    for index, event in enumerate(events, number):
        if event.kind == "names":
            if event.makes_directory:
                entries.setdefault(event.inode, {})
            if not chosen or chosen.get(index) != "missing":
                apply(entries, event.changes)


class _Files:
    """The bytes of each file after the events so far; equal fates give one and the same object."""

    def __init__(self, events: Sequence[Event], start: Image) -> None:
        self._start = start
        self._events = events
        self._writes: dict[int, list[int]] = {}
        for index, event in enumerate(events):
            if event.kind == "write":
                self._writes.setdefault(event.inode, []).append(index)
        self._made: dict[tuple[tuple[int, str], ...], bytes] = {}

    def contents(self, happened: int, chosen: dict[int, str]) -> dict[int, bytes]:
        found = dict(self._start.contents)
        for inode, writes in self._writes.items():
            fates = tuple((index, chosen.get(index, "intact")) for index in writes if index < happened)
            if fates not in self._made:
                self._made[fates] = self._content(fates)
            found[inode] = self._made[fates]
        return found

    def _content(self, fates: tuple[tuple[int, str], ...]) -> bytes:
        content = bytearray()
        for index, fate in fates:
            event = self._events[index]
            if fate == "missing":
                continue
            data = event.data
            if fate == "zeros":
                data = bytes(len(data))
            elif fate == "half":
                data = data[: len(data) // 2]
            content.extend(bytes(max(0, event.offset + len(data) - len(content))))
            content[event.offset : event.offset + len(data)] = data
        return bytes(content)


def _combinations(fates: Sequence[Sequence[str]], cap: int, random: Random) -> Iterator[tuple[str, ...]]:
    if prod(map(len, fates)) <= cap:
        yield from product(*fates)
        return
    kept, lost = (tuple(fate for _ in fates) for fate in ("intact", "missing"))
    chosen = dict.fromkeys([kept, lost])  # in this order, each once
    singles = [(at, fate) for at, choices in enumerate(fates) for fate in choices]
    for changes in [*((one,) for one in singles), *combinations(singles, 2)]:
        for ground in (kept, lost):
            changed = list(ground)
            for at, fate in changes:
                changed[at] = fate
            chosen[tuple(changed)] = None
        if len(chosen) >= cap // 2:
            break
    yield from list(chosen)[: cap // 2]
    for _ in range(cap - min(len(chosen), cap // 2)):
        yield tuple(random.choice(choices) for choices in fates)
