"""Saving in the background loses nothing, mixes nothing, and hides no failure."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing
from holdfast.checkpointing import attach_to_training
from holdfast.errors import SaveError
from holdfast.records import Moment
from holdfast.session import ExperimentDirectory, Session
from holdfast.storage import LocalDisk

RUN = "f" * 32
WAIT_S = 20


class GatedDisk(LocalDisk):
    """A disk on which no checkpoint gets its name before the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.waiting = threading.Event()

    def rename(self, old: str, new: str) -> None:
        self.waiting.set()
        assert self.gate.wait(WAIT_S)
        super().rename(old, new)


class FailingDisk(LocalDisk):
    """A disk that is full for the next `failures` checkpoints."""

    failures = 0

    def rename(self, old: str, new: str) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), new)
        super().rename(old, new)


def session(directory: ExperimentDirectory, label: str = "train", **rule) -> Session:
    attached = attach_to_training(Checkpointing(mode="disk", **rule))
    return Session(attached, "train", label, directory, Path(directory.path) / label)


def save(saver: Session, values: np.ndarray, epoch: int) -> None:
    moment = Moment(run=RUN, hook="epoch_end", phase=saver.label, epoch=epoch)
    saver.save(moment, lambda: {"values": values}, reason="test", metrics={})


def saved(root, label: str, epoch: int) -> np.ndarray:
    with holdfast.open(root / label / f"{label}_epoch{epoch}.ckpt.mml") as checkpoint:
        return checkpoint["values"]


def test_training_goes_on_before_the_save_is_committed(tmp_path):
    disk = GatedDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory)
        save(saver, np.ones(1000), 0)
        assert disk.waiting.wait(WAIT_S)
        assert holdfast.scan(tmp_path) == []
        assert not saver.rule.has_key(0)
        disk.gate.set()
        directory.writer.wait()
        assert saver.rule.has_key(0)
        assert (saved(tmp_path, "train", 0) == 1).all()


def test_arrays_that_change_while_they_are_written_are_saved_as_they_were(tmp_path):
    disk = GatedDisk()
    values = np.zeros(3_000_000)
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory)
        save(saver, values, 0)
        values += 1
        disk.gate.set()
        directory.writer.wait()
    assert (saved(tmp_path, "train", 0) == 0).all()


def test_a_second_save_waits_for_the_first_and_both_hold_their_own_values(tmp_path):
    disk = GatedDisk()
    values = np.zeros(100_000)
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory)
        save(saver, values, 0)
        values += 1
        second = threading.Thread(target=save, args=(saver, values, 1))
        second.start()
        assert disk.waiting.wait(WAIT_S)
        second.join(0.1)
        assert second.is_alive(), "the second save did not wait"
        disk.gate.set()
        second.join(WAIT_S)
        directory.writer.wait()
        assert directory.accounting.blocked_s >= 0.1
    assert (saved(tmp_path, "train", 0) == 0).all()
    assert (saved(tmp_path, "train", 1) == 1).all()


def test_two_phases_share_one_writer_and_one_line_of_checkpoints(tmp_path):
    with ExperimentDirectory(tmp_path, RUN) as directory:
        first, second = session(directory, "first"), session(directory, "second")
        for epoch in range(3):
            save(first, np.full(10, epoch), epoch)
            save(second, np.full(10, -epoch), epoch)
        directory.writer.wait()
    records = [listed.record for listed in holdfast.scan(tmp_path)]
    assert [record.seq for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.parent for record in records] == [None, *(record.id for record in records[:-1])]


def test_a_failure_in_the_background_surfaces_and_leaves_the_older_checkpoints(tmp_path):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, max_to_keep=1)
        save(saver, np.zeros(10), 0)
        directory.writer.wait()
        disk.failures = 1
        save(saver, np.ones(10), 1)
        directory.writer.settle()
        with pytest.raises(SaveError, match=r"train_epoch1.*ENOSPC"):
            directory.writer.check()
        directory.writer.check()  # it is told once
        assert saver.rule.saved_keys == [0]
        assert (saved(tmp_path, "train", 0) == 0).all()
        save(saver, np.full(10, 2), 2)
        directory.writer.wait()
    assert [listed.record.name for listed in holdfast.scan(tmp_path)] == ["train_epoch2"]
    assert [entry for entry in os.listdir(tmp_path / "train") if entry.startswith(".")] == []


def test_a_failure_that_is_only_to_be_warned_of_is_logged_and_counted(tmp_path, caplog):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, on_error="warn")
        disk.failures = 1
        save(saver, np.zeros(10), 0)
        save(saver, np.ones(10), 1)
        directory.writer.wait()
        assert directory.accounting.failures == 1
        assert saver.rule.saved_keys == [1]
    assert "Training goes on without it" in caplog.text


def test_a_failure_that_passes_is_survived_by_trying_again(tmp_path):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, on_error="retry")
        disk.failures = 1
        save(saver, np.zeros(10), 0)
        directory.writer.wait()
        assert saver.rule.saved_keys == [0]


def test_without_a_background_the_save_itself_fails(tmp_path):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, background=False)
        disk.failures = 1
        with pytest.raises(SaveError):
            save(saver, np.zeros(10), 0)


@pytest.mark.parametrize("ending", ["pass", "sys.exit(3)", "raise RuntimeError"])
def test_a_process_that_ends_first_commits_what_it_has_accepted(tmp_path, ending):
    script = f"""
    import sys, time
    sys.path.insert(0, {str(os.path.dirname(__file__))!r})
    import test_background_saves as here
    import numpy as np

    class SlowDisk(here.LocalDisk):
        def rename(self, old, new):
            time.sleep(0.5)
            super().rename(old, new)

    directory = here.ExperimentDirectory({str(tmp_path)!r}, here.RUN, disk=SlowDisk())
    here.save(here.session(directory), np.ones(10), 0)
    {ending}
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, timeout=60, check=False
    )
    assert (saved(tmp_path, "train", 0) == 1).all()
