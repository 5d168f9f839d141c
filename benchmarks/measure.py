"""Rounds, medians and spreads; files synced, read ahead or dropped from the page cache."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol, TypeVar

from .states import Scale

REFERENCE = "torch.save"


class Named(Protocol):
    @property
    def name(self) -> str: ...


Contender = TypeVar("Contender", bound=Named)


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one contender in one measurement: median, least and greatest of its rounds."""

    median: float
    least: float
    greatest: float

    @property
    def spread(self) -> float:
        """(greatest - least) / median."""
        return (self.greatest - self.least) / self.median if self.median else 0.0


@dataclass(slots=True)
class Samples:
    """What was measured: for each measurement ("S1 blocked"), contender and round one value."""

    values: dict[str, dict[str, dict[int, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )

    def add(self, what: str, who: str, round: int, value: float) -> None:
        """Keep a value; those of round -1, which warms up, are not counted."""
        if round >= 0:
            self.values[what][who][round] = value

    def load(self, values: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
        """Begin with what an earlier run measured, as JSON kept it; measuring it again replaces it."""
        for what, contenders in values.items():
            for who, rounds in contenders.items():
                self.values[what][who] = {int(round): value for round, value in rounds.items()}

    def summary(self, what: str, who: str) -> Summary | None:
        rounds = self.values.get(what, {}).get(who)
        if not rounds:
            return None
        return Summary(median(rounds.values()), min(rounds.values()), max(rounds.values()))

    def ratio(self, what: str, who: str, against: str, whose: str) -> Summary | None:
        """`who` in `what` over `whose` in `against`, each round by itself."""
        mine = self.values.get(what, {}).get(who, {})
        theirs = self.values.get(against, {}).get(whose, {})
        ratios = [mine[round] / theirs[round] for round in mine.keys() & theirs.keys() if theirs[round] > 0]
        return Summary(median(ratios), min(ratios), max(ratios)) if ratios else None


@dataclass(slots=True)
class Bench:
    """One run of the benchmarks: where it works, how large, and what came out."""

    folder: Path
    scale: Scale
    say: Callable[[str], None] = print
    samples: Samples = field(default_factory=Samples)
    notes: list[str] = field(default_factory=list)
    out: set[str] = field(default_factory=set)
    _count: int = 0

    def rounds(
        self,
        title: str,
        contenders: Sequence[Contender],
        turn: Callable[[Contender, int], None],
        *,
        repeats: int | None = None,
    ) -> None:
        """Everybody's turn in round -1 (to warm up), then in round 0, and so on: A B C A B C.

        Who fails is out, with a note.
        """
        left = list(contenders)
        for round in range(-1, self.scale.repeats if repeats is None else repeats):
            self.say(f"{title}: " + ("warming up" if round < 0 else f"round {round + 1}"))
            for contender in tuple(left):
                try:
                    turn(contender, round)
                except Exception as err:
                    left.remove(contender)
                    self.out.add(contender.name)
                    self.note(f"{title}: {contender.name} is out: {type(err).__name__}: {str(err)[:200]}")

    def note(self, line: str) -> None:
        line = " ".join(line.split())
        self.notes.append(line)
        self.say(f"! {line}")

    @contextmanager
    def fresh_folder(self) -> Iterator[Path]:
        """A new folder on a disk that is at rest, before and after."""
        self._count += 1
        root = self.folder / f"{self._count:04}"
        root.mkdir(parents=True)
        os.sync()
        try:
            yield root
        finally:
            shutil.rmtree(root)
            os.sync()


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """`with timed() as seconds:` … `seconds()` since then."""
    began_s = time.perf_counter()
    yield lambda: time.perf_counter() - began_s


@dataclass(slots=True)
class Work:
    """Processor time since this was made, without Python's cycle collector: that depends on what else is in the process."""

    _process_s: float = field(default_factory=time.process_time)
    _thread_s: float = field(default_factory=time.thread_time)
    _thread: int = field(default_factory=threading.get_ident)
    _collections_s: dict[int, float] = field(default_factory=lambda: defaultdict(float))  # by thread
    _collection_s: float = 0.0

    def all_s(self) -> float:
        """Of all threads of this process."""
        return time.process_time() - self._process_s - sum(self._collections_s.values())

    def mine_s(self) -> float:
        """Of this thread."""
        return time.thread_time() - self._thread_s - self._collections_s[self._thread]

    def _collecting(self, phase: str, info: object) -> None:
        if phase == "start":
            self._collection_s = time.thread_time()
        else:
            self._collections_s[threading.get_ident()] += time.thread_time() - self._collection_s


@contextmanager
def worked() -> Iterator[Work]:
    work = Work()
    gc.callbacks.append(work._collecting)
    try:
        yield work
    finally:
        gc.callbacks.remove(work._collecting)


def files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]


def sync_file(path: Path) -> None:
    """Also for directories."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Make all files below `root` durable, for contenders that leave it to the caller."""
    for path in (*files(root), *(path for path in root.rglob("*") if path.is_dir()), root):
        sync_file(path)


def disk_bytes(root: Path) -> int:
    """Bytes that the files below `root` take on the disk; one with many names counts once."""
    found = {(about.st_dev, about.st_ino): about.st_blocks for about in (p.stat() for p in files(root))}
    return 512 * sum(found.values())


def warm_up(root: Path) -> None:
    """Bring all files below `root` into the page cache."""
    scratch = memoryview(bytearray(8 << 20))
    for path in files(root):
        with path.open("rb", buffering=0) as file:
            while file.readinto(scratch):
                pass


def cool_down(root: Path) -> None:
    """Drop all files below `root` from the page cache; they must be synced."""
    for path in files(root):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
