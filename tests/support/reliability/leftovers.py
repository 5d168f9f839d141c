"""What killed savers leave behind, and how much of it is still there once it is old."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from holdfast import bundle
from holdfast.storage import LocalDisk
from tests.support.reliability.numbered import Saver, held
from tests.support.reliability.saver import Job, Savers, Told

DAY_S = 24 * 3600.0
# A kill takes nothing from the page cache. Without syncs, which take nearly all the time, it falls between any two steps.
_NOT_DONE = ("sync", "sync_directory", "sync_file")


def one_operation_s(savers: Savers, directory: Path, told: Told) -> float:
    """How long a process of its own takes for one save or deletion here and now, from its first word on.

    Its first operation takes several times as long as the next ones, and it is the one that kills must fall into.
    Each of five lives does one; the directory is not empty afterwards.
    """
    took_s = []
    for _ in range(5):
        hear = savers.start(Job(str(directory), told.last + 1, operations=1, forget=_NOT_DONE), told)
        assert hear()
        began_s = time.perf_counter()
        while hear():
            pass
        took_s.append(time.perf_counter() - began_s)
    return sorted(took_s)[2]


def kill(savers: Savers, directory: Path, told: Told, draw: random.Random, operation_s: float) -> None:
    """One life of a saving process, ended at a random instant; what it had promised is there, and whole."""
    job = Job(str(directory), told.last + 1, draw.randrange(1 << 30), sweep=False, forget=_NOT_DONE)
    savers.run_for(job, told, draw.uniform(0, 3 * operation_s))
    told.check(held(directory))


def let_a_day_pass(directory: Path) -> None:
    """As seen by the disk's clock: everything there is now was last written the day before."""
    for path in (directory, *directory.rglob("*")):
        about = path.lstat()
        os.utime(path, (about.st_atime - DAY_S, about.st_mtime - DAY_S), follow_symlinks=False)


def now_by_disk_s(directory: Path) -> float:
    probe = directory / "now"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def save_each_again(directory: Path, told: Told) -> None:
    """The next run sweeps when it begins, and saves under the names that there are."""
    bundle.sweep(LocalDisk(), str(directory), now_by_disk_s(directory))
    saver = Saver(directory)
    saver.learn_all()
    for name in saver.names:
        told.hear("begun", name, told.last + 1)
        saver.save(told.last, name)
        told.hear("done", name, told.last)
    told.check(held(directory))


def bytes_there(directory: Path) -> int:
    """Of all files below, each once."""
    return sum(_files(path for path in directory.rglob("*") if path.is_file()).values())


def bytes_referenced(directory: Path) -> int:
    """Of the files that the records name, each once, and of the records."""
    return sum(_files(_named(directory)).values())


def _named(directory: Path) -> Iterator[Path]:
    for listed in bundle.scan(LocalDisk(), str(directory)):
        assert listed.record is not None, listed.problem
        yield Path(listed.path, "checkpoint.json")
        for entry in (listed.record.tree, *listed.record.packs):
            yield Path(listed.path, entry.name)


def _files(paths: Iterator[Path]) -> dict[tuple[int, int], int]:
    found = [path.lstat() for path in paths]
    return {(about.st_dev, about.st_ino): about.st_size for about in found}
