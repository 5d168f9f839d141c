"""A save that cannot get the memory for its copy is written all the same, piece by piece, or fails as its policy says."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Write
from holdfast.errors import SaveError
from holdfast.policy import attach_to_training
from holdfast.records import Moment
from holdfast.runtime import ExperimentDirectory, Session
from holdfast.state import Buffers

RUN = "f" * 32


class NoBuffers(Buffers):
    """Has no memory for anything; the seam at which a real `malloc` fails."""

    def take(self, size: int, device=None):
        raise MemoryError(size)


def saver_in(directory: ExperimentDirectory, **policy) -> Session:
    attached = attach_to_training(
        Checkpointing(mode="disk", **{"write": Write(durability="process"), **policy})
    )
    return Session(attached, "train", "train", directory, Path(directory.path) / "train")


def save(saver: Session, values, epoch: int) -> None:
    moment = Moment(run=RUN, hook="epoch_end", phase="train", epoch=epoch)
    saver.save(moment, lambda: {"values": values, "epoch": epoch}, reason="test", metrics={})


@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
def test_without_memory_for_a_copy_the_save_is_written_before_training_continues(tmp_path, snapshot, caplog):
    values = np.arange(3_000_000.0)
    with ExperimentDirectory(tmp_path, RUN) as directory:
        directory.taking.buffers = NoBuffers()
        save(saver_in(directory, snapshot=snapshot), values, 0)
        assert not directory.writer.is_busy
        assert directory.accounting.saves == 1
        assert directory.accounting.blocked_s >= directory.accounting.commit_s > 0
        values += 1
    (listed,) = holdfast.scan(tmp_path)
    with holdfast.open(listed) as checkpoint:
        assert checkpoint.verify(deep=True) == []
        assert np.array_equal(checkpoint["values"], np.arange(3_000_000.0))
    assert "no memory for a copy" in caplog.text


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_if_even_that_fails_the_policy_decides(tmp_path, on_error, error, monkeypatch):
    def fail(*args, **options):
        raise error

    with ExperimentDirectory(tmp_path, RUN) as directory:
        directory.taking.buffers = NoBuffers()
        saver = saver_in(directory, write=Write(durability="process", errors=on_error))
        with monkeypatch.context() as patch:
            patch.setattr("holdfast.bundle._digest._digest_batch", fail)
            if on_error == "raise":
                with pytest.raises(SaveError, match=r"train_epoch0.*not enough memory"):
                    save(saver, np.zeros(10), 0)
            else:
                save(saver, np.zeros(10), 0)
        assert directory.accounting.failures == (on_error == "warn")
        assert saver.policy.saved_keys == []
        save(saver, np.zeros(10), 1)
        assert saver.policy.saved_keys == [1]
    assert [listed.record.name for listed in holdfast.scan(tmp_path)] == ["train_epoch1"]


@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
def test_without_memory_for_a_thread_the_save_is_committed_in_the_foreground(tmp_path, snapshot, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with ExperimentDirectory(tmp_path, RUN) as directory:
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", refuse)
            save(saver_in(directory, snapshot=snapshot), np.zeros(1000), 0)
        directory.writer.check()
        assert directory.accounting.saves == 1


LIMITED = """
import resource, sys
from tests.runtime import test_out_of_memory as here
import numpy as np

MIB = 1 << 20
values = [np.random.default_rng(n).integers(0, 255, 8 * MIB, np.uint8) for n in range(24)]
values.append(np.zeros((2 * MIB, 16), np.uint8)[:, ::2])  # lies in no row, so it needs scratch
with here.ExperimentDirectory({path!r}, here.RUN) as directory:
    saver = here.saver_in(directory, write=here.Write(background={background}))
    here.save(saver, [np.zeros(8 * MIB)], 0)  # loads what there is to load, and starts the threads
    directory.writer.wait()
    directory.taking.buffers = here.Buffers()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = used + {room_mib} * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    here.save(saver, values, 1)
    directory.writer.wait()
    print(directory.accounting.saves)
"""


@pytest.mark.medium
@pytest.mark.parametrize("background", [True, False])
def test_under_a_real_limit_a_state_of_208_mib_is_saved_with_96_mib_to_spare(tmp_path, background):
    """Threads reserve address space, 8 MiB and an arena of 64 MiB each, most of which they never use."""
    script = LIMITED.format(path=str(tmp_path), background=background, room_mib=96)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=120, check=False,
        env={"MALLOC_ARENA_MAX": "1", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n"
    assert ("no memory for a copy" in done.stderr) == background
    newest = holdfast.scan(tmp_path)[-1]
    with holdfast.open(newest) as checkpoint:
        assert checkpoint["epoch"] == 1
        assert checkpoint.verify(deep=True) == []


PEAK = """
import sys
from tests.runtime import test_out_of_memory as here
import numpy as np

MIB = 1 << 20

def most_kib():  # getrusage would give what the parent of this process once took
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

values = [np.random.default_rng(n).integers(0, 255, 16 * MIB, np.uint8) for n in range(16)]
values.append(np.random.default_rng(99).integers(0, 255, (4 * MIB, 16), np.uint8)[:, ::2])
with here.ExperimentDirectory({path!r}, here.RUN) as directory:
    saver = here.saver_in(directory, write=here.Write(background=False))
    here.save(saver, [np.zeros(MIB)], 0)
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
    before = most_kib()
    here.save(saver, values, 1)
    print((most_kib() - before) / 1024)
"""


@pytest.mark.medium
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux can forget a peak")
def test_a_save_in_the_foreground_takes_at_most_32_mib_beside_the_state(tmp_path):
    script = PEAK.format(path=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=120, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert 0 < float(done.stdout) <= 32
