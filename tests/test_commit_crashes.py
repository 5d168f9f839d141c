"""A crash at any operation leaves the old or the new checkpoint, and the disk usable."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from disks import Crash, CrashAfter, WatchedDisk
from holdfast import bundle, state
from holdfast.errors import CheckpointNotFoundError, SaveError
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.storage import MemoryDisk

A_DAY_S = 86_400.0
FROZEN = np.arange(20_000.0)  # large enough to be shared


def value(seed: int) -> dict[str, Any]:
    return {"frozen": FROZEN, "weights": np.full(9_000, float(seed)), "step": seed}


def save(disk: Any, name: str, seed: int, sharing: bundle.Sharing | None = None) -> None:
    draft = CheckpointRecord(
        id="0" * 32,
        name=name,
        kind="train",
        moment=Moment(run="r", hook="epoch_end"),
        seq=seed,
        created="2026-01-01T00:00:00.000000+00:00",
        tree=FileEntry("", 0, ""),
        packs=(),
    )
    bundle.save(disk, "runs", draft, state.capture(value(seed)), sharing or bundle.Sharing())


def read(disk: Any, name: str) -> int | None:
    """Which of the values the name holds, every byte checked; None if it is not there."""
    try:
        with bundle.Bundle(disk, bundle.bundle_path("runs", name)) as opened:
            assert list(opened.problems(deep=True)) == []
            found = state.rebuild(opened)
    except CheckpointNotFoundError:
        return None
    assert np.array_equal(found["frozen"], FROZEN)
    assert (found["weights"] == found["step"]).all()
    return found["step"]


def new(disk: Any) -> None:
    save(disk, "best", 1)


def overwrite(disk: Any) -> None:
    sharing = bundle.Sharing()
    save(disk, "best", 1, sharing)
    save(disk, "best", 2, sharing)


def share(disk: Any) -> None:
    sharing = bundle.Sharing()
    save(disk, "first", 1, sharing)
    save(disk, "best", 2, sharing)


def evict(disk: Any) -> None:
    sharing = bundle.Sharing()
    save(disk, "first", 1, sharing)
    save(disk, "best", 2, sharing)
    bundle.delete(disk, bundle.bundle_path("runs", "first"))


# What the names may hold after a crash, in the order in which they come to.
WORKLOADS: list[tuple[Callable[[Any], None], list[dict[str, int | None]]]] = [
    (new, [{"best": None}, {"best": 1}]),
    (overwrite, [{"best": None}, {"best": 1}, {"best": 2}]),
    (share, [{"first": None, "best": None}, {"first": 1, "best": None}, {"first": 1, "best": 2}]),
    (
        evict,
        [
            {"first": None, "best": None},
            {"first": 1, "best": None},
            {"first": 1, "best": 2},
            {"first": None, "best": 2},
        ],
    ),
]


def crashed(workload: Callable[[Any], None], operations: int) -> tuple[MemoryDisk, bool]:
    """The disk after a crash, and whether there was one: a workload may need fewer operations."""
    disk = MemoryDisk()
    try:
        workload(WatchedDisk(disk, CrashAfter(operations)))
    except Crash:
        return disk, True
    return disk, False


@pytest.mark.parametrize(("workload", "stages"), WORKLOADS, ids=lambda case: getattr(case, "__name__", ""))
def test_a_crash_at_any_operation_leaves_a_whole_stage(workload, stages):
    reached = 0
    for operations in itertools.count():
        disk, died = crashed(workload, operations)
        found = {name: read(disk, name) for name in stages[0]}
        assert found in stages[reached:], f"after {operations} operations"
        reached = stages.index(found)  # more operations never lead back
        if not died:
            break
    assert reached == len(stages) - 1
    assert operations > 10


@pytest.mark.parametrize(("workload", "stages"), WORKLOADS, ids=lambda case: getattr(case, "__name__", ""))
def test_after_a_crash_the_next_save_and_delete_work_and_nothing_is_left(workload, stages):
    for operations in itertools.count():
        disk, died = crashed(workload, operations)
        save(disk, "best", 7)
        assert read(disk, "best") == 7
        bundle.sweep(disk, "runs", now_s=A_DAY_S * 1000)
        assert read(disk, "best") == 7
        for name in stages[0]:
            if read(disk, name) is not None:
                bundle.delete(disk, bundle.bundle_path("runs", name))
        assert disk.folders("runs") == [], f"after {operations} operations"
        if not died:
            return


@pytest.mark.parametrize(
    ("workload", "stages"), WORKLOADS[:2], ids=lambda case: getattr(case, "__name__", "")
)
def test_a_second_crash_while_saving_after_the_first_loses_nothing_either(workload, stages):
    for first in range(0, 60, 3):
        disk, _ = crashed(workload, first)
        before = read(disk, "best")
        for second in itertools.count(0, 2):
            try:
                save(WatchedDisk(disk, CrashAfter(second)), "best", 9)
            except Crash:
                assert read(disk, "best") in (before, 9)
                before = read(disk, "best")
            else:
                break
        assert read(disk, "best") == 9


def test_a_crash_while_sweeping_harms_no_checkpoint():
    leftover, _ = crashed(share, 25)
    assert leftover.folders("runs")
    for operations in range(12):
        disk, _ = crashed(share, 25)
        there = [each.path for each in bundle.scan(disk, "runs")]
        with contextlib.suppress(Crash):
            bundle.sweep(WatchedDisk(disk, CrashAfter(operations)), "runs", now_s=A_DAY_S * 1000)
        assert [each.path for each in bundle.scan(disk, "runs")] == there
        assert all(each.problem is None for each in bundle.scan(disk, "runs"))


def test_an_error_at_any_operation_is_told_and_leaves_the_old_checkpoint():
    for operations in itertools.count():
        disk = MemoryDisk()
        save(disk, "best", 1)
        countdown = iter([*[None] * operations, OSError(28, "No space left on device")])

        def fail(operation: str, countdown=countdown) -> None:
            if operation in CrashAfter.CHANGES and (error := next(countdown, None)):
                raise error

        with contextlib.suppress(SaveError):
            save(WatchedDisk(disk, fail), "best", 2)
        assert read(disk, "best") in (1, 2)
        if next(countdown, "unused") is not None:
            break
