"""Processes are killed, really, at every operation of theirs; the next one finds what they left on a real disk."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from holdfast import bundle
from holdfast.storage import LocalDisk, Storage
from holdfast.testing import KillingDisk, Operation
from tests.support.reliability.lives import BEST, FOLDER, LAST, Held, Saver, read, sweep

THIRD = bundle.bundle_path(FOLDER, "third")
FINISHED = 7
AFTER_ALL_S = 1e12  # whatever is there is old by then


class ImpatientKillingDisk(KillingDisk):
    """Does not wait for the medium: a kill takes nothing from the page cache, so syncing would prove nothing."""

    def around(self, operation: Operation, do: Callable[[], object]) -> object:
        syncs = operation.kind in ("sync", "sync_file", "sync_directory")
        return super().around(operation, (lambda: None) if syncs else do)


def check_kills(root: Path, count: int, seed: int, number: int = signal.SIGKILL, seconds: float = 1e9) -> str:
    """So many processes of one directory die one after the other, each one operation later in what it does."""
    random = Random(seed)
    kills = survived = 0
    with _inside(root):
        victims = _Victims(number)
        while kills < count and victims.seconds() < seconds:
            died = victims.next(random)
            kills += died
            survived += not died
            if (kills + survived) % 50 == 0:
                victims.check_that_nothing_is_left()
        victims.check_that_nothing_is_left()
    return f"{kills:,} processes killed by signal {number}, {survived:,} came to their end: 0 violations"


class _Victims:
    def __init__(self, number: int) -> None:
        self.disk = LocalDisk()
        self.number = number
        self.held: Held = {}
        self._after: dict[tuple[str, bool], int] = {}  # how far the last of its kind came
        self._began = os.times().elapsed
        saver = Saver(self.disk)
        for path, state in ((BEST, 1), (LAST, 2), (THIRD, 3)):
            saver.save(state, path, durability="process")
            self.held[path] = state

    def seconds(self) -> float:
        return os.times().elapsed - self._began

    def next(self, random: Random) -> bool:
        """One process begins something; whether it died of it."""
        path = random.choice((BEST, LAST, THIRD))
        there = self.held[path] is not None
        result = None if there and random.random() < 0.3 else random.randrange(4, 20)
        kind = ("save" if result is not None else "evict", there)
        after = self._after.get(kind, 0)
        died = self._killed(after, path, result)
        self._after[kind] = after + 1 if died else 0
        found = {each.path: read(self.disk, each.path) for each in bundle.scan(self.disk, FOLDER)}
        for other, state in self.held.items():
            allowed = {state, result} if other == path and died else {result if other == path else state}
            assert found.get(other) in allowed, (
                f"{other} holds {found.get(other)}, not {allowed}: {kind} {after}"
            )
        self.held = {each: found.get(each) for each in self.held}
        return died

    def _killed(self, after: int, path: str, result: int | None) -> bool:
        sys.stdout.flush()
        child = os.fork()
        if not child:
            try:
                self._act(ImpatientKillingDisk(self.disk, after, self.number), path, result)
                os._exit(FINISHED)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (-self.number, FINISHED), f"the process failed in its own way: {code}"
        return code != FINISHED

    def _act(self, disk: Storage, path: str, result: int | None) -> None:
        saver = Saver(disk)
        if result is None:
            saver.evict(path)
        else:
            saver.learn_all()
            saver.save(result, path)

    def check_that_nothing_is_left(self) -> None:
        sweep(self.disk, AFTER_ALL_S)
        assert not [name for name in self.disk.folders(FOLDER) if name.startswith(".")]
        found = {each.path: read(self.disk, each.path) for each in bundle.scan(self.disk, FOLDER)}
        assert found == {path: state for path, state in self.held.items() if state is not None}


@contextlib.contextmanager
def _inside(directory: Path) -> Iterator[None]:
    """The paths of `lives` are relative."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
