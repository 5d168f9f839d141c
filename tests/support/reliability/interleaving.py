"""Runs real code of several actors over one disk in memory, one operation at a time, in every order.

An actor runs in a thread of its own and stops before each operation that others could notice. Of all
orders that differ only in when independent operations happen, one is run: by sleep sets (P. Godefroid,
LNCS 1032, 1996, chapter 5). Two operations are independent if neither changes a name that the other uses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, TypeVar

import pytest

from holdfast.storage import MemoryDisk
from holdfast.testing import Operation, TappedDisk

Result = TypeVar("Result")
Act = Callable[["ActorDisk"], Any]
Begin = Callable[[], MemoryDisk]

# Bytes are written to, synced in and read from files that no other actor writes.
_UNNOTICED = {"write", "skip", "fill", "sync", "close", "read", "sync_directory", "sync_file"}


@dataclass
class Outcome:
    """How one actor ended: what it returned or raised, and the numbers of its first and last step (from 1)."""

    result: Any = None
    error: BaseException | None = None
    began: int = 0
    ended: int = 0

    def is_before(self, other: Outcome) -> bool:
        return self.ended < other.began


@dataclass
class World:
    """A disk, the actors' outcomes, and the order in which they moved."""

    disk: MemoryDisk
    outcomes: list[Outcome]
    schedule: list[int] = field(default_factory=list)


class ActorDisk(TappedDisk):
    """The shared disk as one actor sees it: it stops before each operation that others notice."""

    def __init__(self, disk: MemoryDisk, actor: _Actor) -> None:
        super().__init__(disk)
        self._actor = actor

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        if operation.kind in _UNNOTICED:
            return do()
        self._actor.pause(operation)
        return do()


class _Abandoned(BaseException):
    """This order leads nowhere new."""


class _Actor:
    def __init__(self, number: int, act: Act, world: World) -> None:
        self.ids = count()
        self.number = number
        self.next: Operation | None = None
        self._is_abandoned = False
        self._world, self._act = world, act
        self._may_move, self._has_stopped = threading.Lock(), threading.Lock()
        self._may_move.acquire()
        self._has_stopped.acquire()
        threading.Thread(target=self._run, daemon=True).start()
        self._has_stopped.acquire()

    def move(self) -> None:
        """Let it do the operation that it stands before, and run up to the next; None is next at its end."""
        self._may_move.release()
        self._has_stopped.acquire()

    def abandon(self) -> None:
        """Let it end without doing anything more."""
        self._is_abandoned = True
        while self.next:
            self.move()

    def pause(self, operation: Operation) -> None:
        self.next = operation
        self._has_stopped.release()
        self._may_move.acquire()
        if self._is_abandoned:
            raise _Abandoned
        outcome = self._world.outcomes[self.number]
        outcome.began = outcome.began or len(self._world.schedule)

    def _run(self) -> None:
        _current.actor = self
        outcome = self._world.outcomes[self.number]
        try:
            outcome.result = self._act(ActorDisk(self._world.disk, self))
        except BaseException as err:
            outcome.error = err
        outcome.ended = len(self._world.schedule)
        self.next = None
        self._has_stopped.release()


_current = threading.local()


@pytest.fixture
def own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random ids become a function of the actor and of how many it drew before."""
    use_own_ids(monkeypatch)


def use_own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    others = count(1 << 20)

    def token_hex(size: int) -> str:
        actor = getattr(_current, "actor", None)
        drawn = next(others) if actor is None else (actor.number << 8) + next(actor.ids)
        return f"{drawn:0{2 * size}x}"

    monkeypatch.setattr("holdfast.bundle._format.names.secrets.token_hex", token_hex)


def every_order(begin: Begin, acts: Sequence[Act]) -> Iterator[World]:
    """A finished world for each order of the actors' operations, but for the order of independent ones."""
    waiting: list[tuple[list[int], frozenset[int]]] = [([], frozenset())]
    while waiting:
        prefix, sleeping = waiting.pop()
        taken: list[int] = []

        def choose(world: World, movable: Sequence[_Actor], prefix=prefix, taken=taken) -> int | None:
            nonlocal sleeping
            if len(taken) < len(prefix):
                taken.append(prefix[len(taken)])
                return taken[-1]
            uses = {actor.number: _Uses(world.disk, actor.next) for actor in movable if actor.next}
            asleep, chosen = set(sleeping), None
            for actor in movable:
                if actor.number in asleep:
                    continue  # all that follows from its move here has been seen from an earlier state
                still = frozenset(
                    other for other in asleep if not uses[other].conflicts_with(uses[actor.number])
                )
                if chosen is None:
                    chosen, sleeping = actor.number, still
                else:
                    waiting.append(([*taken, actor.number], still))
                asleep.add(actor.number)
            if chosen is not None:
                taken.append(chosen)
            return chosen

        world = _run(begin, acts, choose)
        if world is not None:
            yield world


def every_pair(begin: Begin, acts: Sequence[Act]) -> Iterator[World]:
    """For every two operations of two actors: a world in which both stand before them at the same time.

    One goes on to its operation, then the other; then the first runs to its end, and the other after it.
    Either is the first once. So each operation of the one happens right between two of the other.
    """
    for first in (0, 1):
        for stop in count():
            for other_stop in count():
                reached = [0, 0]

                def choose(
                    world: World,
                    movable: Sequence[_Actor],
                    first=first,
                    stops=(stop, other_stop),
                    reached=reached,
                ) -> int:
                    numbers = [actor.number for actor in movable]
                    for actor, end in zip((first, 1 - first), stops, strict=True):
                        if actor in numbers and reached[actor] < end:
                            reached[actor] += 1
                            return actor
                    return first if first in numbers else 1 - first

                world = _run(begin, acts, choose)
                assert world is not None
                if reached[1 - first] < other_stop:
                    break  # the other ends before
                yield world
            if reached[first] < stop:
                break


def hours_apart() -> Callable[[], float]:
    """A clock by which each actor lives two hours after the one before."""
    return lambda: 7200.0 * getattr(getattr(_current, "actor", None), "number", 0)


def some_orders(begin: Begin, acts: Sequence[Act], times: int, seed: int) -> Iterator[World]:
    """Worlds of random orders, of actors that move in bursts of random length."""
    for attempt in range(times):
        random = Random(seed * 1_000_003 + attempt)
        patience = random.choice((1, 2, 4, 8))

        def choose(world: World, movable: Sequence[_Actor], random=random, patience=patience) -> int:
            numbers = [actor.number for actor in movable]
            if world.schedule and world.schedule[-1] in numbers and random.randrange(patience):
                return world.schedule[-1]
            return random.choice(numbers)

        world = _run(begin, acts, choose)
        assert world is not None
        yield world


def _run(
    begin: Begin, acts: Sequence[Act], choose: Callable[[World, Sequence[_Actor]], int | None]
) -> World | None:
    """Run all `acts` to their ends; `choose` says who moves. If it names none, the order is abandoned."""
    world = World(begin(), [Outcome() for _ in acts])
    actors = [_Actor(number, act, world) for number, act in enumerate(acts)]
    while movable := [actor for actor in actors if actor.next]:
        chosen = choose(world, movable)
        if chosen is None:
            for actor in movable:
                actor.abandon()
            return None
        world.schedule.append(chosen)
        actors[chosen].move()
    return world


class _Uses:
    """The names that an operation reads and changes: (directory, name), "*" for all in a directory."""

    def __init__(self, disk: MemoryDisk, operation: Operation) -> None:
        self._disk = disk
        self.reads: set[tuple[object, str]] = set()
        self.changes: set[tuple[object, str]] = set()
        name, to = operation.path.rpartition("/")[2], operation.to.rpartition("/")[2]
        match operation.kind:
            case "names":
                self.reads.add((operation.folder, "*"))
            case "folders":
                self.reads |= {*self._way(operation.path), (self._directory(operation.path), "*")}
            case "open_directory":
                self.reads |= self._way(operation.path)
            case "open" | "status" | "is_held":
                self.reads.add((operation.folder, name))
            case "create" | "hold" | "unlink":
                self.changes.add((operation.folder, name))
            case "rename":
                self.changes |= {(operation.folder, name), (operation.folder, to)}
            case "link":
                self.reads |= self._way(operation.path)
                self.changes.add((operation.folder, to))
            case "mkdir" if self._directory(operation.path) != operation.path:
                self.reads |= self._way(operation.path)  # it is there already
            case "mkdir" | "rmdir" | "rename_directory":
                for path in filter(None, (operation.path, operation.to)):
                    self.reads |= self._way(path)
                    self.changes.add(self._last(path))
                # What is removed or replaced must be empty.
                self.reads.add((self._directory(operation.to or operation.path), "*"))
            case kind:
                raise AssertionError(f"it is not known what {kind} uses")

    def conflicts_with(self, other: _Uses) -> bool:
        mine, others = self.reads | self.changes, other.reads | other.changes
        return any(
            one[0] == two[0] and (one[1] == two[1] or "*" in (one[1], two[1]))
            for changed, used in ((self.changes, others), (other.changes, mine))
            for one in changed
            for two in used
        )

    def _way(self, path: str) -> set[tuple[object, str]]:
        parts = path.split("/")
        return {self._last("/".join(parts[: end + 1])) for end in range(len(parts))}

    def _last(self, path: str) -> tuple[object, str]:
        above, _, name = path.rpartition("/")
        return self._directory(above), name

    def _directory(self, path: str) -> object:
        try:
            return self._disk.open_directory(path).identity
        except OSError:
            return path
