"""A save that fails is told, harms nothing, and leaves nothing in the way of the next."""

from __future__ import annotations

import errno

import pytest

from holdfast import bundle
from holdfast.errors import CheckpointUnreadableError, SaveError
from holdfast.runtime import ExperimentDirectory
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import FaultyDisk
from tests.support.reliability.faults import TASKS, Trouble, check_everywhere, interruptions, refusals
from tests.support.reliability.lives import BEST, FOLDER, Saver

QUICK = {"ENOSPC from then on", "EIO once", "EIO but done", "ENOSPC after 1 byte(s) once"}
# It has many operations, and where the answer to a claim is lost, so is the lock.
FOR_A_TRAINING = frozenset(
    {"ENOSPC from then on", "EIO once", "EIO from then on", "ESTALE once", "EACCES once", "KeyboardInterrupt"}
)


def check_all(faults, *, told: bool, trainings: frozenset[str] = FOR_A_TRAINING) -> Trouble:
    trouble = Trouble()
    for name, task in TASKS.items():
        for kind, fault in faults:
            if task is None and kind not in trainings:
                continue
            try:
                check_everywhere(trouble, task, fault, told=told)
            except Exception as err:
                err.add_note(f"{kind} in {name}, run {trouble.runs}")
                raise
    return trouble


@pytest.mark.medium
def test_a_disk_that_refuses_any_operation_loses_nothing_and_the_error_is_ours():
    some = [one for one in refusals() if one[0] in QUICK]
    assert check_all(some, told=True, trainings=frozenset({"EIO once"})).runs > 500


@pytest.mark.slow
def test_the_same_with_every_error_that_a_disk_has(record_property):
    trouble = check_all([*refusals()], told=True)
    record_property("figures", f"{trouble.runs:,} faults, 0 violations")
    assert trouble.runs >= 1_700


def test_a_directory_that_could_not_be_opened_can_be_tried_again(tmp_path):
    disk = FaultyDisk(LocalDisk(), 0, errno.EIO, kinds=frozenset({"status"}))
    with pytest.raises(SaveError, match="cannot be used as an experiment's directory: Input/output error"):
        ExperimentDirectory(tmp_path, "a" * 32, disk=disk)
    ExperimentDirectory(tmp_path, "a" * 32, disk=disk).close()


def test_a_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one():
    disk = MemoryDisk()
    bundle.make_directories(disk, "runs")
    faulty = FaultyDisk(disk, 0, errno.EIO, kinds=frozenset({"folders"}))
    with pytest.raises(CheckpointUnreadableError, match="cannot be listed"):
        list(bundle.scan(faulty, "runs"))


@pytest.mark.parametrize("lasting", [False, True])
def test_a_deletion_that_cannot_read_what_it_would_delete_says_that_the_disk_failed(lasting):
    """Not that another checkpoint is there by now: each operation fails in turn, reads too."""
    told = set()
    for at in range(100):
        disk = MemoryDisk()
        Saver(disk).save(1, BEST)
        (saved,) = bundle.scan(disk, FOLDER)
        assert saved.record is not None
        faulty = FaultyDisk(disk, at, errno.EIO, lasting=lasting)
        try:
            bundle.delete(faulty, BEST, expected_id=saved.record.id)
        except SaveError as err:
            told.add((faulty.failed.kind, "Input/output error" in str(err)))
        if faulty.failed is None:
            break
        bundle.sweep(disk, FOLDER, now_s=1e12)
        if faulty.failed.kind in ("open", "read") and not lasting:  # else a sweeper finishes the deletion
            assert [each.record for each in bundle.scan(disk, FOLDER)] == [saved.record]
    assert faulty.failed is None
    kinds = ("open_directory", "open", "read", "rename_directory", "sync_directory")
    assert told >= {(kind, True) for kind in kinds}
    assert all(is_named for _, is_named in told)


@pytest.mark.medium
def test_out_of_memory_or_interrupted_at_any_operation_loses_nothing():
    assert check_all([*interruptions()], told=False, trainings=frozenset()).runs > 300


@pytest.mark.slow
def test_a_training_that_is_interrupted_at_any_operation_can_begin_again():
    assert check_all([*interruptions()], told=False).runs > 400
