"""Saving in the background loses nothing, mixes nothing, and hides no failure."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Write
from holdfast.errors import SaveError
from holdfast.policy import attach_to_training
from holdfast.records import Moment
from holdfast.runtime import ExperimentDirectory, Session
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


def session(directory: ExperimentDirectory, label: str = "train", **policy) -> Session:
    attached = attach_to_training(Checkpointing(mode="disk", **policy))
    return Session(attached, "train", label, directory, Path(directory.path) / label)


def save(saver: Session, values: np.ndarray, epoch: int) -> None:
    moment = Moment(run=RUN, hook="epoch_end", phase=saver.label, epoch=epoch)
    saver.save(moment, lambda: {"values": values}, reason="test", metrics={})


def saved(root, label: str, epoch: int) -> np.ndarray:
    with holdfast.open(root / label / f"{label}_epoch{epoch}.ckpt.mml") as checkpoint:
        return checkpoint["values"]


def test_training_continues_before_the_save_is_committed(tmp_path):
    disk = GatedDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory)
        save(saver, np.ones(1000), 0)
        assert disk.waiting.wait(WAIT_S)
        assert holdfast.scan(tmp_path) == []
        assert not saver.policy.has_key(0)
        disk.gate.set()
        directory.writer.wait()
        assert saver.policy.has_key(0)
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
        assert saver.policy.saved_keys == [0]
        assert (saved(tmp_path, "train", 0) == 0).all()
        save(saver, np.full(10, 2), 2)
        directory.writer.wait()
    assert [listed.record.name for listed in holdfast.scan(tmp_path)] == ["train_epoch2"]
    assert [entry for entry in os.listdir(tmp_path / "train") if entry.startswith(".")] == []


def test_a_failure_that_is_only_to_be_warned_of_is_logged_and_counted(tmp_path, caplog):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, write=Write(errors="warn"))
        disk.failures = 1
        save(saver, np.zeros(10), 0)
        save(saver, np.ones(10), 1)
        directory.writer.wait()
        assert directory.accounting.failures == 1
        assert saver.policy.saved_keys == [1]
    assert "Training continues without it" in caplog.text


def test_a_failure_that_passes_is_survived_by_trying_again(tmp_path):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, write=Write(errors="retry"))
        disk.failures = 1
        save(saver, np.zeros(10), 0)
        directory.writer.wait()
        assert saver.policy.saved_keys == [0]


def test_without_a_background_the_save_itself_fails(tmp_path):
    disk = FailingDisk()
    with ExperimentDirectory(tmp_path, RUN, disk=disk) as directory:
        saver = session(directory, write=Write(background=False))
        disk.failures = 1
        with pytest.raises(SaveError):
            save(saver, np.zeros(10), 0)


SCRIPT = """
import os, signal, sys, threading, time
import numpy as np
from tests.runtime import test_background_saves as here

class SlowDisk(here.LocalDisk):
    at_work, go_on = threading.Event(), threading.Event()
    patience_s = 0.5

    def mkdir(self, path):
        if path.endswith(".part") and "probe" not in path:
            self.at_work.set()
            self.go_on.wait(self.patience_s)
        super().mkdir(path)

directory = here.ExperimentDirectory(sys.argv[1], here.RUN, disk=SlowDisk())
saver = here.session(directory)
"""


def run_script(root: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT + textwrap.dedent(code), str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        pytest.param("sys.exit(3)", 3, marks=pytest.mark.slow),
        pytest.param("raise RuntimeError", 1, marks=pytest.mark.slow),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT, marks=pytest.mark.slow
        ),
    ],
)
def test_a_process_that_ends_first_commits_what_it_has_accepted(tmp_path, ending, code):
    # 24 MB: enough for threads that digest and threads that write, when the interpreter starts none any more.
    done = run_script(tmp_path, f"here.save(saver, np.ones(3_000_000), 0); {ending}")
    assert done.returncode == code
    assert (saved(tmp_path, "train", 0) == 1).all()
    assert "could not" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_failure_after_the_last_hook_is_told_on_standard_error(tmp_path):
    done = run_script(
        tmp_path,
        """
        SlowDisk.patience_s = 20
        here.save(saver, np.ones(10), 0)
        SlowDisk.at_work.wait(20)
        os.rmdir(sys.argv[1] + "/train")
        SlowDisk.go_on.set()
        """,
    )
    assert "a save in the background failed" in done.stderr
    assert "train_epoch0" in done.stderr


@pytest.mark.medium
def test_a_handler_of_the_users_for_sigterm_is_left_alone(tmp_path):
    done = run_script(
        tmp_path,
        """
        mine = lambda *_: sys.exit(7)
        signal.signal(signal.SIGTERM, mine)
        here.save(saver, np.ones(10), 0)
        assert signal.getsignal(signal.SIGTERM) is mine
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        """,
    )
    assert done.returncode == 7, done.stderr
    assert (saved(tmp_path, "train", 0) == 1).all()


def test_with_nothing_under_way_sigterm_ends_the_process_as_ever(tmp_path):
    with ExperimentDirectory(tmp_path, RUN) as directory:
        save(session(directory), np.ones(10), 0)
        directory.writer.wait()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.medium
def test_a_fork_while_a_save_is_under_way_neither_breaks_nor_repeats_it(tmp_path):
    done = run_script(
        tmp_path,
        """
        SlowDisk.patience_s = 20
        here.save(saver, np.ones(10), 0)
        SlowDisk.at_work.wait(20)
        child = os.fork()
        if not child:  # as a worker of a DataLoader, that the parent ends by SIGTERM
            assert not directory.writer.is_busy
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            directory.writer.wait()
            sys.exit(5)  # unlike most workers: with all that the interpreter does at its end
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        assert directory.writer.is_busy, "the child was meant to end first"
        SlowDisk.go_on.set()
        directory.writer.wait()
        print(directory.accounting.saves)
        """,
    )
    assert done.stdout == "1\n", done.stderr
    assert (saved(tmp_path, "train", 0) == 1).all()
    assert os.listdir(tmp_path / "train") == ["train_epoch0.ckpt.mml"]


@pytest.mark.slow
def test_a_loader_with_forked_workers_reads_on_while_a_save_is_under_way(tmp_path):
    done = run_script(
        tmp_path,
        """
        import torch
        from torch.utils.data import DataLoader
        data = torch.arange(64)
        for epoch in range(3):
            here.save(saver, np.full(3_000_000, epoch), epoch)
            loader = DataLoader(data, 8, num_workers=2, multiprocessing_context="fork")
            assert torch.cat(list(loader)).equal(data)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for epoch in range(3):
        assert (saved(tmp_path, "train", epoch) == epoch).all()


def test_where_no_thread_can_be_started_the_save_is_made_all_the_same(tmp_path, monkeypatch, caplog):
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ExperimentDirectory(tmp_path, RUN) as directory:
        saver = session(directory)
        monkeypatch.setattr(threading.Thread, "start", start)
        save(saver, np.arange(3_000_000), 0)
        monkeypatch.undo()
        directory.writer.wait()
    assert (saved(tmp_path, "train", 0) == np.arange(3_000_000)).all()
    assert "without a thread" in caplog.text
