"""One process meets trouble: its disk refuses, its memory ends, it is interrupted or killed, at any operation.

Afterwards every checkpoint that was there is there, the one in question is the old or the new, what the
process left is little, and the next one saves without any repair.
"""

from __future__ import annotations

import copy
import errno
import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from holdfast import bundle
from holdfast.errors import CommitUncertainError, HoldfastError, SaveError
from holdfast.storage import MemoryDisk, Storage
from holdfast.testing import FaultyDisk, Image, image_of
from tests.support.reliability.lives import (
    AFTER_A_DAY_S,
    BEST,
    FOLDER,
    Held,
    Life,
    Saver,
    die_saving,
    numbered_ids,
    read,
    save_best,
    save_last,
    sweep,
    training,
)
from tests.support.reliability.reading import Reader

NEW = 20  # the state that the process in trouble would save
ONE_SAVE_BYTES = 100_000
THIRD = bundle.bundle_path(FOLDER, "third")

Act = Callable[[Saver], object]


@dataclass(frozen=True)
class Task:
    """What the process is at. `path` is in question: it may hold what it held, and `result` once all is done."""

    act: Act
    path: str | None
    result: int | None = None
    empty: bool = False  # begin with nothing at all


TASKS: dict[str, Task | None] = {
    "the first save": Task(lambda saver: saver.save(NEW), BEST, NEW, empty=True),
    "a save that shares": Task(lambda saver: saver.save(NEW, THIRD), THIRD, NEW),
    "an overwrite": Task(lambda saver: saver.save(NEW), BEST, NEW),
    "an eviction": Task(lambda saver: bundle.delete(saver.disk, BEST, expected_id=_id_of_best()), BEST),
    "a deletion": Task(lambda saver: bundle.delete(saver.disk, BEST), BEST),
    "clearing leftovers": Task(lambda saver: sweep_as_we_do(saver.disk), None),
    "a training": None,
}


def sweep_as_we_do(disk: Storage) -> None:
    bundle.sweep(disk, FOLDER, AFTER_A_DAY_S)


@functools.cache
def before(empty: bool) -> tuple[Image, Held]:
    """Two checkpoints that share, and what dead processes left of others; or nothing."""
    life = Life()
    if not empty:
        with numbered_ids(1):
            for step in (save_best, save_last, die_saving(12), save_best, die_saving(9)):
                step(life)
            life.dies(8, lambda disk: life.save(THIRD, disk))
    image = image_of(life.disk)
    return image, Reader().held(image.disk())


@dataclass
class Trouble:
    """Runs tasks in trouble and judges what is left; counts them in `runs`."""

    runs: int = 0
    _reader: Reader = field(default_factory=Reader)

    def check(self, task: Task, fault: Callable[[Storage], FaultyDisk], *, told: bool = True) -> bool:
        """Whether there was any trouble. `told`: all that is raised has to be an error of ours."""
        image, held = before(task.empty)
        disk = image.disk(lambda: 0.0)
        bytes_before = _size(disk)
        faulty = fault(disk)
        error = self._run(task, disk, faulty, told=told)
        self.runs += 1
        found = self._reader.held(disk) if disk.folders("") else {}
        for path in held.keys() | found.keys() | {task.path} - {None}:
            assert found.get(path) in self._allowed(task, path, held, error), (path, error, faulty.failed)
        assert _size(disk) <= bytes_before + ONE_SAVE_BYTES, "more than one save is left behind"
        self._resume(disk)
        return faulty.failed is not None

    def check_training(self, fault: Callable[[Storage], FaultyDisk], *, told: bool = True) -> bool:
        """The same for a whole experiment's directory and three epochs."""
        disk = MemoryDisk(lambda: 0.0)
        faulty = fault(disk)
        numbers = (14, 15, 16)
        error: BaseException | None = None
        try:
            with training(faulty) as save:
                for epoch, number in enumerate(numbers):
                    save(epoch, number)
        except HoldfastError as err:
            error = err
        except (KeyboardInterrupt, MemoryError, SystemExit) as err:
            assert not told
            error = err
        self.runs += 1
        there = sorted(self._reader.held(disk).values()) if disk.folders("") else []
        assert there in ([], [14], [14, 15], [14, 15, 16], [15, 16]), (there, error, faulty.failed)
        assert error is not None or there[-2:] == [15, 16]
        with training(disk) as save:  # its lock is no longer held
            for epoch, number in enumerate(numbers):
                save(epoch, number)
        return faulty.failed is not None

    def _run(self, task: Task, disk: MemoryDisk, faulty: FaultyDisk, *, told: bool) -> BaseException | None:
        saver = Saver(disk)
        saver.sharing = copy.deepcopy(_known(task.empty))
        saver.disk = faulty
        try:
            task.act(saver)
        except HoldfastError as err:
            return err
        except (KeyboardInterrupt, MemoryError, SystemExit) as err:
            assert not told
            return err
        return None

    def _allowed(self, task: Task, path: str, held: Held, error: BaseException | None) -> set[int | None]:
        if path != task.path:
            return {held.get(path)}
        if error is None:
            return {task.result}
        if isinstance(error, SaveError) and not isinstance(error, CommitUncertainError) and task.result:
            return {held.get(path)}  # "every earlier checkpoint is as it was", and the new one is not there
        return {held.get(path), task.result}

    def _resume(self, disk: MemoryDisk) -> None:
        """The trouble is over: no repair is needed, and nothing is left after a day."""
        Saver(disk).save(21)
        assert read(disk, BEST) == 21
        sweep(disk, AFTER_A_DAY_S)
        assert not [name for name in disk.folders(FOLDER) if name.startswith(".")]


@functools.cache
def _id_of_best() -> str:
    listed = bundle.look(before(False)[0].disk(), BEST)
    assert listed is not None
    assert listed.record is not None
    return listed.record.id


@functools.cache
def _known(empty: bool) -> bundle.Sharing:
    saver = Saver(before(empty)[0].disk())
    saver.learn_all()
    return saver.sharing


def _size(disk: MemoryDisk) -> int:
    return sum(len(data or b"") for _, data in image_of(disk).paths())


ERRNOS = tuple(
    getattr(errno, name)
    for name in [
        "ENOSPC",
        "EDQUOT",
        "EIO",
        "EROFS",
        "EACCES",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
        "EINTR",
        "ESTALE",
        "EFBIG",
    ]
)
Fault = Callable[..., FaultyDisk]


def refusals() -> Iterator[tuple[str, Fault]]:
    """Every errno and short write, once and from then on; and refusals of what is done all the same."""
    for code in (errno.EIO, errno.ESTALE):
        yield f"{errno.errorcode[code]} but done", functools.partial(FaultyDisk, error=code, lying=True)
    for lasting in (False, True):
        when = "from then on" if lasting else "once"
        for code in ERRNOS:
            yield (
                f"{errno.errorcode[code]} {when}",
                functools.partial(FaultyDisk, error=code, lasting=lasting),
            )
        for code, short in ((errno.ENOSPC, 1), (errno.EFBIG, 1), (errno.EIO, 4096)):
            # Each write is made of two: so many bytes (or none, when this one fails) and the rest.
            yield (
                f"{errno.errorcode[code]} after {short} byte(s) {when}",
                functools.partial(FaultyDisk, error=code, lasting=lasting, short=short, kinds=WRITES),
            )


WRITES = frozenset({"write", "skip", "fill"})


def interruptions() -> Iterator[tuple[str, Fault]]:
    for error in (KeyboardInterrupt(), MemoryError(), SystemExit(143)):
        yield type(error).__name__, functools.partial(FaultyDisk, error=error)


def check_everywhere(trouble: Trouble, task: Task | None, fault: Fault, *, told: bool = True) -> None:
    """The fault at every operation of the task; without one, of a training."""
    for at in itertools.count():
        wrapped = functools.partial(fault, at=at)
        met = trouble.check(task, wrapped, told=told) if task else trouble.check_training(wrapped, told=told)
        if not met:
            return
