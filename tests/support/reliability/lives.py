"""Small lives of a directory of checkpoints: what processes do there, on a disk that records it.

A step is one thing that a process does. What callers are promised is marked among the disk's events, so that
whoever looks at a crash state knows what each checkpoint's place may hold.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from holdfast import Checkpointing, Write, bundle
from holdfast.policy import attach_to_training
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.runtime import ExperimentDirectory, Session
from holdfast.state import MemorySnapshot, capture, digest
from holdfast.storage import Directory, Storage
from holdfast.testing import Crash, CrashingDisk, Event, Image, RecordingDisk

FOLDER = "runs"
BEST, LAST = (bundle.bundle_path(FOLDER, name) for name in ("best", "last"))
AFTER_A_DAY_S = 1e6  # whatever was written at 0 is old by then
FROZEN = np.random.default_rng(0).integers(0, 256, 64 << 10, np.uint8)  # large enough to be shared

ANYTHING = -1  # may be there: also a damaged checkpoint
Held = dict[str, int | None]
"""Which state each checkpoint's place holds, by path; None: there is none."""
MayHold = dict[str, frozenset[int | None]]


def state(number: int) -> dict[str, Any]:
    return {"frozen": FROZEN, "head": np.full(3, number), "step": number}


@functools.cache
def snapshot(number: int) -> MemorySnapshot:
    return capture(state(number))


@functools.cache
def number_of() -> dict[str, int]:
    """The states that are ever saved here, by the digest of their content."""
    return {digest(capture(state(number))): number for number in range(24)}


def read(disk: Storage, path: str) -> int:
    """Which state the bundle holds, every byte verified, twice; anything else is an error."""
    with bundle.Bundle(disk, path) as opened:
        assert list(opened.problems(deep=True)) == []
        return number_of()[digest(opened)]


def read_file(inside: Directory, name: str) -> bytes:
    file = inside.open(name)
    data = bytearray(file.size)
    file.read_into(0, memoryview(data))
    file.close()
    return bytes(data)


def draft(name: str, seq: int, **facts: Any) -> CheckpointRecord:
    return CheckpointRecord(
        id="0" * 32,
        name=name,
        kind="train",
        moment=Moment(run="a", hook="epoch_end", step=seq),
        seq=seq,
        created="2026-01-02T03:04:05.000006+00:00",
        tree=FileEntry("", 0, ""),
        packs=(),
        **facts,
    )


class NothingThereError(Exception):
    """A step has no meaning: what it deletes is not there."""


class Saver:
    """One process that saves `state(number)`, and knows what it can share."""

    def __init__(self, disk: Storage) -> None:
        self.disk = disk
        self.sharing = bundle.Sharing()

    def learn_all(self, paths: Iterable[str] | None = None) -> None:
        """As after a resume that verified these, by default all."""
        for path in (
            [each.path for each in bundle.scan(self.disk, FOLDER)] if paths is None else sorted(paths)
        ):
            with bundle.Bundle(self.disk, path) as opened:
                self.sharing.learn(path, opened.record, opened.stored)

    def save(self, number: int, path: str = BEST, disk: Storage | None = None, **facts: Any) -> str:
        folder, _, name = path.removesuffix(bundle.SUFFIX).rpartition("/")
        record = draft(name, number, **facts)
        return bundle.save(disk or self.disk, folder, record, snapshot(number), self.sharing).id

    def evict(self, path: str = BEST, disk: Storage | None = None) -> None:
        """As retention deletes: this checkpoint and no other."""
        listed = bundle.look(self.disk, path)
        if listed is None:
            raise NothingThereError(path)
        assert listed.record is not None, listed.problem
        bundle.delete(disk or self.disk, path, expected_id=listed.record.id)
        self.sharing.forget(path)


@contextlib.contextmanager
def numbered_ids(first: int) -> Iterator[None]:
    """Ids that are the same whenever the same is done, so that equal states can be told to be equal."""
    numbers = itertools.count(first)
    with mock.patch.object(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}"):
        yield


class Life:
    """A recorded disk, the process that works on it now, and what it has promised."""

    def __init__(self, start: Image | None = None) -> None:
        self.now_s = 0.0
        self.disk = RecordingDisk(lambda: self.now_s, start or Image())
        self.saver = Saver(self.disk)
        self.numbers = itertools.count(1 if start is None else 11)

    @property
    def events(self) -> list[Event]:
        return self.disk.events

    def save(self, path: str = BEST, on: Storage | None = None) -> None:
        number = next(self.numbers)
        with self.promises(path, number):
            self.saver.save(number, path, on)

    def evict(self, path: str = BEST, on: Storage | None = None) -> None:
        with self.promises(path, None):
            self.saver.evict(path, on)

    def delete(self, path: str = BEST) -> None:
        if bundle.look(self.disk, path) is None:
            raise NothingThereError(path)
        with self.promises(path, None):
            bundle.delete(self.disk, path)
        self.saver.sharing.forget(path)

    def restart(self, *, knowing: bool = True) -> None:
        self.saver = Saver(self.disk)
        if knowing:
            self.saver.learn_all()

    def sweep(self, on: Storage | None = None) -> None:
        self.now_s += AFTER_A_DAY_S
        sweep(on or self.disk, self.now_s)

    @contextlib.contextmanager
    def promises(self, path: str, number: int | None) -> Iterator[None]:
        self.disk.mark((path, number, "begun"))
        yield
        self.disk.mark((path, number, "done"))

    def dies(self, after: int, act: Callable[[Storage], None]) -> None:
        """Another process begins with this and dies; nothing if it would have come to an end."""
        with contextlib.suppress(Crash):
            act(CrashingDisk(self.disk, after))
        self.restart()


def sweep(disk: Storage, now_s: float) -> None:
    """What an experiment does in its directory, which it makes if need be, and all its folders, before it begins."""
    for above in dict.fromkeys(bundle.make_directories(disk, FOLDER)):
        with disk.open_directory(above) as opened:
            opened.sync()
    for folder in (FOLDER, *(f"{FOLDER}/{name}" for name in disk.folders(FOLDER))):
        if not folder.endswith(bundle.SUFFIX) and "/." not in folder:
            bundle.sweep(disk, folder, now_s)


Step = Callable[[Life], None]


def save_best(life: Life) -> None:
    """New, or overwriting and linking again what did not change."""
    life.save()


def save_last(life: Life) -> None:
    """Under another name, sharing packs."""
    life.save(LAST)


def save_knowing_nothing(life: Life) -> None:
    life.restart(knowing=False)
    life.save()


def save_sharing_with_one_that_is_not_durable(life: Life) -> None:
    loose = bundle.bundle_path(FOLDER, "loose")
    life.disk.mark((loose, ANYTHING, "begun"))
    life.saver.save(next(life.numbers), loose, durability="process")
    life.save(LAST)


def save_deep(life: Life) -> None:
    """Where not even the directories are there."""
    life.save(f"{FOLDER}/deep/best{bundle.SUFFIX}")


def evict(life: Life) -> None:
    life.evict()


def remove(life: Life) -> None:
    life.delete()


def sweep_after_a_day(life: Life) -> None:
    life.restart()
    life.sweep()


def die_saving(after: int) -> Step:
    return lambda life: life.dies(after, lambda disk: life.save(BEST, disk))


def die_evicting(after: int) -> Step:
    return lambda life: life.dies(after, lambda disk: life.evict(BEST, disk))


def die_sweeping(after: int) -> Step:
    return lambda life: life.dies(after, life.sweep)


@contextlib.contextmanager
def training(disk: Storage) -> Iterator[Callable[[int, int], None]]:
    """An experiment's directory and a policy at work in it, which keeps two; yields what saves (epoch, number)."""
    with ExperimentDirectory(FOLDER, "a" * 32, disk=disk) as directory:
        policy = attach_to_training(Checkpointing(mode="disk", max_to_keep=2, write=Write(background=False)))
        session = Session(policy, "train", "train", directory, Path(FOLDER, "train"))

        def save(epoch: int, number: int) -> None:
            session.save(
                Moment(run="a" * 32, hook="epoch_end", phase="train", epoch=epoch),
                lambda: state(number),
                reason="an epoch ended",
                metrics={},
            )

        yield save


def train(life: Life) -> None:
    """Three epochs, of which the last two are kept."""
    life.restart(knowing=False)
    with training(life.disk) as save:
        for epoch in range(3):
            number = next(life.numbers)
            with contextlib.ExitStack() as promised:
                if epoch == 2:
                    promised.enter_context(life.promises(_epoch_path(0), None))
                promised.enter_context(life.promises(_epoch_path(epoch), number))
                save(epoch, number)


def _epoch_path(epoch: int) -> str:
    return bundle.bundle_path(f"{FOLDER}/train", f"train_epoch{epoch}")


STEPS: tuple[Step, ...] = (
    save_best,
    save_last,
    save_knowing_nothing,
    save_deep,
    evict,
    remove,
    sweep_after_a_day,
)
# A save of a new name takes 20 operations or so, an overwrite and a deletion a few more or less.
DEATHS: tuple[Step, ...] = (
    *map(die_saving, (1, 3, 6, 9, 12, 14, 16, 17, 18, 19, 20, 21, 22)),
    *map(die_evicting, (1, 2, 3, 4, 5, 6)),
    *map(die_sweeping, (1, 3, 5)),
)


def lives(length: int) -> Iterator[tuple[Step, ...]]:
    """Every sequence of at most so many steps."""
    for count in range(1, length + 1):
        yield from itertools.product(STEPS, repeat=count)


def lives_after_a_death() -> Iterator[tuple[Step, ...]]:
    """A process dies in the middle of something; another one goes on, at once or after a day."""
    for death, last in itertools.product(DEATHS, (sweep_after_a_day, save_best, save_last, evict)):
        yield save_best, death, last
    for death in DEATHS:
        yield save_best, death, sweep_after_a_day, save_best


def short_lives() -> Iterator[tuple[Step, ...]]:
    """Those that find nearly everything, the quickest first."""
    yield from ((save_best,), (save_best, save_best), (save_best, evict), (save_best, remove), (train,))
    yield (save_sharing_with_one_that_is_not_durable,)
    for death in DEATHS:
        yield save_best, death, sweep_after_a_day
        yield save_best, death, sweep_after_a_day, save_best
        yield save_best, remove, death, save_best  # over what may have a name that is not durable
    yield from lives(2)


def may_be_held(past: Sequence[Event], before: MayHold) -> MayHold:
    """By path: what was last done, and what was begun since."""
    may_hold = dict(before)
    for event in past:
        if event.kind == "mark":
            path, number, how = event.note
            begun = may_hold.get(path, frozenset({None}))
            may_hold[path] = frozenset({number}) if how == "done" else begun | {number}
    return may_hold
