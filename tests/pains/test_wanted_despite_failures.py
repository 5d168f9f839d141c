"""What users of ModularML 1.0.0 wanted when disks fill up, processes die and bits flip: rows 7, 8, 14, 35 of its defects.

Each docstring begins with the number of the row.
"""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import Write
from holdfast.errors import SaveError
from tests.support import ROOT
from tests.support.small_runs import (
    At,
    adam_steps,
    all_verify,
    bundles,
    digest_of,
    experiment,
    files_below,
    graph,
    on_disk,
    train,
)

HELPERS = ROOT / "tests" / "support" / "pains"


class FullDisk:
    """A small disk of its own, full from `fill()` to `free()`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self, context: object = None) -> None:
        with (self.place / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True)


class FileLimit:
    """A disk that takes no file beyond 1,000 bytes from `fill()` to `free()`: what any user's process can be told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, context: object = None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@pytest.fixture(params=["full disk", "file limit"])
def disk(request, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "file limit":
        limited = FileLimit(place)
        yield limited
        limited.free()
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk that is really full needs root, to mount a small tmpfs")
    yield FullDisk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_save_over_a_good_checkpoint_on_a_full_disk_leaves_the_good_one(disk):
    """7: a good file of 25 kB became one of 369 bytes, and there was no other copy."""
    runs = disk.place / "runs"
    run = experiment(runs, graph=graph(width=2000))
    run.save_checkpoint("best")
    good, files = digest_of(run.graph), files_below(runs)
    run.run_phase(train(n_epochs=1))
    trained = digest_of(run.graph)
    disk.fill()
    with pytest.raises(SaveError, match="Earlier checkpoints are untouched"):
        run.save_checkpoint("best")
    disk.free()

    assert digest_of(run.graph) == trained
    assert files_below(runs) == files
    assert all_verify(runs)
    run.restore_checkpoint("best")
    assert digest_of(run.graph) == good


def test_a_run_whose_disk_fills_up_resumes_once_there_is_room(disk):
    """7: as above, for a run with one rolling checkpoint."""

    def make(fill):
        policy = on_disk(
            name_template="latest",
            directory=disk.place / "runs",
            write=Write(durability="process", background=False),
        )
        phase = train(n_epochs=4, callbacks=[At("epoch_end", 2, do=fill)], checkpointing=policy)
        return experiment(None, phase, graph=graph(width=2000))

    undisturbed = make(lambda context: None)
    with undisturbed.disable_checkpointing():
        undisturbed.run()
    run = make(disk.fill)
    with pytest.raises(SaveError):
        run.run()
    disk.free()
    assert bundles(disk.place / "runs") == ["latest"]
    assert run.history[0].status == "failed"

    with pytest.warns(UserWarning, match="already contains 1 checkpoint"):
        again = make(lambda context: None)
    again.run(resume=disk.place / "runs" / "latest.ckpt.mml")
    assert again.last_resume.record.moment.epoch == 1
    assert again.state_digest() == undisturbed.state_digest()


@pytest.mark.medium
def test_a_process_killed_while_it_overwrites_leaves_the_old_checkpoint_or_the_new_one(tmp_path):
    """8: the file was cut, the good version gone, and 96 MB of staging left in the system's temporary directory."""
    (tmp_path / "tmp").mkdir()
    script = [sys.executable, str(HELPERS / "overwritten_under_kills.py"), str(tmp_path / "runs")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(script, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1, "every kill met the same checkpoint"
    assert files_below(tmp_path / "tmp") == set()
    assert bundles(tmp_path / "runs") == ["best"]


def test_a_failing_save_ends_training_by_an_error_that_says_so(disk):
    """14: a bare OSError ended training, and the history said nothing."""
    phase = train(callbacks=[At("epoch_end", 1, do=disk.fill)], checkpointing=on_disk())
    run = experiment(disk.place, phase, graph=graph(width=2000))
    with pytest.raises(SaveError) as caught:
        run.run()
    assert "train_epoch" in str(caught.value)  # the background may be an epoch behind
    assert [(entry.status, "SaveError" in entry.reason) for entry in run.history] == [("failed", True)]


def test_training_continues_without_a_failing_save_if_asked_to(disk, caplog):
    """14: there was no choice."""

    def make(fill, free):
        troubles = [At("epoch_end", 1, do=fill), At("epoch_start", 2, do=free)]
        policy = on_disk(write=Write(durability="process", background=False, errors="warn"))
        return experiment(
            disk.place, train(callbacks=troubles, checkpointing=policy), graph=graph(width=2000)
        )

    undisturbed = make(lambda context: None, lambda context: None)
    with undisturbed.disable_checkpointing():
        undisturbed.run()
    run = make(disk.fill, lambda context: disk.free())
    with caplog.at_level(logging.WARNING, "holdfast"):
        run.run()
    assert "Training continues without it" in caplog.text
    assert run.accounting.failures == 1
    assert list(run.available_checkpoints) == ["train/train_epoch0", "train/train_epoch2"]
    assert run.state_digest() == undisturbed.state_digest()


def test_a_flipped_bit_is_noticed_and_the_run_resumes_from_the_checkpoint_before(tmp_path):
    """35: it was noticed, and that was the end."""

    def make():
        return experiment(tmp_path, train(n_epochs=4, checkpointing=on_disk("epoch_end")))

    complete = make()
    complete.run()
    newest = complete.available_checkpoints["train/train_epoch3"]
    flip_a_bit(newest)
    with holdfast.open(newest) as checkpoint:
        assert checkpoint.verify()

    again = make()
    again.run(resume=True)
    assert again.last_resume.record.name == "train_epoch2"
    assert [str(newest) in reason for reason in again.last_resume.skipped] == [True]
    assert again.state_digest() == complete.state_digest()
    assert adam_steps(again.graph) == 20


def flip_a_bit(bundle: Path) -> None:
    """In the middle of the arrays of a checkpoint, without changing any file's size."""
    pack = max(bundle.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    header = 8 + int.from_bytes(pack.read_bytes()[:8], "little")
    data = bytearray(pack.read_bytes())
    data[header + 16] ^= 0x10
    pack.unlink()  # it may be linked into other checkpoints: only this one is to be damaged
    pack.write_bytes(data)
