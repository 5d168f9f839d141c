"""A checkpoint is wholly there or not there, whenever the process dies or the disk refuses."""

from __future__ import annotations

import errno
import itertools

import pytest
from protocol_cases import STEPS, Writer, go_on, held_by, listed

from holdfast import bundle
from holdfast.errors import CommitUncertainError, HoldfastError, SaveError
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import Crash, CrashingDisk, FaultyDisk


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_operation_leaves_the_old_or_the_new_checkpoint(step, disk, tmp_path, monkeypatch):
    begin, go, allowed = STEPS[step]
    for after in itertools.count():
        durability = "full"
        if isinstance(disk, LocalDisk):
            durability = "process"  # no power is cut here, and syncs are slow
            (tmp_path / str(after)).mkdir()
            monkeypatch.chdir(tmp_path / str(after))
        else:
            disk = MemoryDisk()
        bundle.make_directories(disk, "runs")
        writer = Writer(disk, durability)
        begin(disk, writer)
        try:
            go(CrashingDisk(disk, after), writer)
        except Crash:
            found = listed(disk)
            for name, states in allowed.items():
                assert found.get(name) in states
                assert held_by(disk, name) == found.get(name)
            go_on(disk, durability)
        else:
            assert after > 2
            assert all(held_by(disk, name) == states[-1] for name, states in allowed.items())
            return  # it survived its last operation: every crash point has been tried


@pytest.mark.parametrize(
    ("error", "lasting"),
    [(errno.EIO, False), (errno.ENOENT, False), (errno.ENOSPC, True)],
    ids=["EIO once", "ENOENT once", "ENOSPC from then on"],
)
@pytest.mark.parametrize("step", [name for name in STEPS if name != "a sweep"])
def test_an_operation_that_is_refused_is_an_error_of_ours_or_does_no_harm(step, error, lasting):
    begin, go, allowed = STEPS[step]
    for at in itertools.count():
        disk = MemoryDisk()
        bundle.make_directories(disk, "runs")
        writer = Writer(disk)
        begin(disk, writer)
        faulty = FaultyDisk(disk, at, error, lasting=lasting)
        try:
            go(faulty, writer)
        except HoldfastError:
            assert faulty.failed is not None
            for name, states in allowed.items():
                assert held_by(disk, name) in states
        else:
            for name, states in allowed.items():
                assert held_by(disk, name) == states[-1]
        if faulty.failed is None:
            assert at > 5
            return
        Writer(disk).save(7)  # needs no repair
        assert held_by(disk) == 7


@pytest.mark.parametrize("step", ["a first save", "a save that shares", "an overwrite"])
def test_when_the_disk_does_what_it_refuses_a_save_error_still_means_that_nothing_changed(step):
    begin, go, allowed = STEPS[step]
    for at in itertools.count():
        disk = MemoryDisk()
        bundle.make_directories(disk, "runs")
        writer = Writer(disk)
        begin(disk, writer)
        before = listed(disk)
        faulty = FaultyDisk(disk, at, errno.EIO, lying=True)
        try:
            go(faulty, writer)
        except CommitUncertainError:
            for name, states in allowed.items():
                assert held_by(disk, name) == states[-1]
        except SaveError:
            assert listed(disk) == before
        if faulty.failed is None:
            return
