"""Ranks of a crew in threads of which one moves at a time, in an order drawn at random, by a clock of their own.

A rank stops before each operation on the disk they share, and before each message. Time passes while all sleep; now and then
it leaps, as for a rank that the system has stopped. A rank can die before any operation: whatever it would do afterwards
has no effect, and its locks are released.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from holdfast.crew import Crew
from holdfast.testing import Operation, TappedDisk
from tests.support.crews import DictBoard


class Dead(BaseException):
    """The rank's process is gone."""


class _Rank:
    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.wakes_s = 0.0
        self.moves = 0
        self.is_dead = self.has_ended = False
        self.result: Any = None
        self._may_move = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)

    def begin(self, act: Callable[[], Any]) -> None:
        def run() -> None:
            self._may_move.acquire()
            try:
                self.result = act()
            except Exception as err:
                self.result = err
            except Dead:
                pass
            self.has_ended = True
            self._has_stopped.release()

        threading.Thread(target=run, daemon=True).start()

    def move(self) -> None:
        """Let it do one operation."""
        self._may_move.release()
        assert self._has_stopped.acquire(timeout=30), "a rank waits for what nobody does"

    def stop(self) -> None:
        """Called by the rank itself before an operation."""
        if not self.is_dead:
            self._has_stopped.release()
            self._may_move.acquire()
            self.moves += 1
            self.is_dead = self.world.deaths.get(self.number) == self.moves
        if self.is_dead:
            raise Dead

    def sleep(self, seconds: float) -> None:
        self.wakes_s = self.world.now_s + seconds
        self.stop()


class _Disk(TappedDisk):
    def __init__(self, disk: Any, rank: _Rank) -> None:
        super().__init__(disk)
        self._rank = rank

    def around(self, operation: Operation, do: Callable[[], Any]) -> Any:
        self._rank.stop()
        return do()


class _Board:
    def __init__(self, shared: DictBoard, rank: _Rank) -> None:
        self._shared, self._rank = shared, rank

    def tell(self, key: str, data: bytes) -> None:
        self._rank.stop()
        self._shared.tell(key, data)

    def look(self, keys: Sequence[str]) -> dict[str, bytes]:
        self._rank.stop()
        return self._shared.look(keys)

    def forget(self, keys: Sequence[str]) -> None:
        self._rank.stop()
        self._shared.forget(keys)


class World:
    """`size` ranks over one disk; `deaths`: for a rank the number of the operation before which it dies."""

    def __init__(
        self, seed: int, size: int, disk: Any, *, deaths: dict[int, int], timeout_s: float = 5.0
    ) -> None:
        self.deaths = deaths
        self.now_s = 0.0
        self.ranks = [_Rank(self, number) for number in range(size)]
        self._random, self._disk, self._timeout_s = Random(seed), disk, timeout_s
        shared = DictBoard()
        self.boards: list[Any] = [_Board(shared, rank) for rank in self.ranks]

    def run(self, act: Callable[[Crew, Any], Any], *, leaps: float = 0.0) -> None:
        """Every rank does `act` with its crew and its view of the disk. `leaps`: how often time does."""
        for rank in self.ranks:
            crew = Crew(
                rank.number,
                len(self.ranks),
                self.boards[rank.number],
                timeout_s=self._timeout_s,
                clock=lambda: self.now_s,
                sleep=rank.sleep,
            )
            rank.begin(lambda crew=crew, rank=rank: act(crew, _Disk(self._disk, rank)))
        while live := [rank for rank in self.ranks if not rank.has_ended]:
            awake = [rank for rank in live if rank.wakes_s <= self.now_s]
            if not awake:
                self.now_s = min(rank.wakes_s for rank in live)
                continue
            if leaps and self._random.random() < leaps:
                self.now_s += self._random.uniform(0, 3 * self._timeout_s)
            self._random.choice(awake).move()
