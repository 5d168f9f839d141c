"""Judges crash states: each is opened again with the real code, and must hold what was promised.

No checkpoint that was acknowledged is lost, none that was deleted comes back, nothing is visible that was
never saved, recovery raises nothing and twice does what once does, and saving and deleting go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from holdfast import bundle
from holdfast.storage import MemoryDisk
from holdfast.testing import Event, Image, crash_states, image_of
from tests.support.reliability.lives import (
    AFTER_A_DAY_S,
    ANYTHING,
    BEST,
    FOLDER,
    LAST,
    Held,
    Life,
    MayHold,
    NothingThereError,
    Saver,
    Step,
    evict,
    may_be_held,
    numbered_ids,
    read,
    save_best,
    save_last,
    sweep,
    sweep_after_a_day,
)
from tests.support.reliability.reading import Reader, files, quick_decoding

RECOVERY_IDS, SECOND_IDS = 1 << 40, 1 << 41
SECOND_STEPS: tuple[Step, ...] = (sweep_after_a_day, save_best, save_last, evict)


@dataclass
class Checker:
    """Counts what it has judged; the verdict on equal states is made once.

    `cap`: crash states for each crash point. `second`: the share of the distinct states in which a second
    process begins something and the power fails again.
    """

    cap: int
    random: Random
    second: float = 0.0
    states: int = 0
    distinct: int = 0
    second_states: int = 0
    _seen: set[Hashable] = field(default_factory=set)
    _reader: Reader = field(default_factory=Reader)
    _resumed: set[Hashable] = field(default_factory=set)

    def check_lives(self, lives: Iterable[Sequence[Step]]) -> None:
        for steps in lives:
            self.check_life(steps)

    def check_life(self, steps: Sequence[Step]) -> bool:
        """Judge every crash in the last step; False if the steps make no sense in this order."""
        with numbered_ids(1):
            life, first = Life(), 0
            try:
                for step in steps:
                    first = len(life.events)
                    step(life)
            except NothingThereError:
                return False
        self.check(life.events, first=first)
        return True

    def check(self, events: Sequence[Event], *, first: int = 0) -> None:
        with quick_decoding():
            for happened, image in crash_states(events, self.cap, self.random, first=first):
                self.states += 1
                with _told(f"the power failed after {happened} events of {len(events)}"):
                    self._check_new(image, may_be_held(events[:happened], {}), may_crash=True)

    def _check_new(self, image: Image, may_hold: MayHold, *, may_crash: bool) -> None:
        key = image.key, tuple(sorted(may_hold.items()))
        if key in self._seen:
            return
        self._seen.add(key)
        self.distinct += 1
        found, later = self._judge(image, may_hold)
        promised = not any(ANYTHING in states for states in may_hold.values())
        if may_crash and promised and self.random.random() < self.second:
            self._crash_again(image, found, later)

    def _judge(self, image: Image, may_hold: MayHold) -> tuple[Held, Held]:
        """What is held at once, and after the leftovers have been removed."""
        with numbered_ids(RECOVERY_IDS):
            clock = Clock()
            disk = image.disk(clock.now)
            bundle.make_directories(disk, FOLDER)
            found = self._held(disk, may_hold)
            self._resume(image.disk(clock.now), found)  # with all the leftovers still there
            clock.now_s = AFTER_A_DAY_S
            sweep(disk, clock.now_s)
            later = self._held(disk, may_hold)
            # What a dead deleter had moved away in doubt may be back; nothing else may change.
            assert found.items() <= later.items(), (found, later)
            once = image_of(disk)
            assert not any(path.endswith((".part", ".aside", ".trash")) for path, _ in once.paths())
            sweep(disk, clock.now_s)
            assert image_of(disk).key == once.key, "a second sweep found more to do"
            self._resume(disk, later)
            return found, later

    def _held(self, disk: MemoryDisk, may_hold: MayHold) -> Held:
        found: Held = {}
        for listed in bundle.scan(disk, FOLDER):
            if ANYTHING not in may_hold.get(listed.path, ()):
                assert listed.record is not None, listed.problem
                found[listed.path] = self._reader.number(disk, listed.path)
        assert found.keys() <= may_hold.keys()
        for path, states in may_hold.items():
            assert ANYTHING in states or found.get(path) in states, (
                f"{path} holds {found.get(path)}, not one of {set(states)}"
            )
        return found

    def _resume(self, disk: MemoryDisk, held: Held) -> None:
        """A process that finds this can save, share, overwrite and delete, and harms nothing."""
        bundle.make_directories(disk, FOLDER)
        key = (disk.now(), *((path, files(disk, path)) for path in sorted(held)))
        if key in self._resumed:
            return
        self._resumed.add(key)
        saver = Saver(disk)
        saver.learn_all(held)
        saver.save(21)
        saver.save(22, LAST)
        assert (read(disk, BEST), read(disk, LAST)) == (21, 22)
        saver.evict(LAST)
        saver.save(23)
        others = {path: number for path, number in held.items() if path not in (BEST, LAST)}
        for path, number in (others | {BEST: 23}).items():
            assert read(disk, path) == number
        bundle.delete(disk, BEST)
        assert BEST not in {each.path for each in bundle.scan(disk, FOLDER)}

    def _crash_again(self, image: Image, found: Held, later: Held) -> None:
        """What is there after the first crash is promised: it was seen."""
        before: MayHold = {
            path: frozenset({found.get(path), later.get(path)}) for path in found.keys() | later.keys()
        }
        life = Life(image)
        with numbered_ids(SECOND_IDS):
            try:
                bundle.make_directories(life.disk, FOLDER)
                self.random.choice(SECOND_STEPS)(life)
            except NothingThereError:
                return
        for happened, again in crash_states(life.events, max(8, self.cap // 8), self.random, start=image):
            self.states += 1
            self.second_states += 1
            with _told(f"and after {happened} events of another process"):
                self._check_new(again, may_be_held(life.events[:happened], before), may_crash=False)

    def forget_if_large(self) -> None:
        """For long campaigns: what is remembered of equal states takes memory."""
        if len(self._seen) > 50_000:
            self._seen.clear()
            self._resumed.clear()
            self._reader = Reader()

    @property
    def figures(self) -> str:
        return (
            f"{self.states:,} crash states, {self.distinct:,} of them different, "
            f"{self.second_states:,} after a second crash: 0 violations"
        )


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as err:
        raise Violation(f"{where}: {type(err).__name__}: {err}") from err


class Violation(AssertionError):
    """What a power cut left is not what was promised."""


class Clock:
    now_s = 0.0

    def now(self) -> float:
        return self.now_s
