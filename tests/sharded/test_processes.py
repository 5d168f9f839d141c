"""Real processes (gloo): sharded models saved by all, restored by as many bit for bit, and by others with equal state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import holdfast
from tests.support.ranks import ROOT, Job, run

TRAINING = "tests.support.sharded_training"
pytestmark = pytest.mark.slow


def saved(scratch: Path, layout: str, size: int) -> tuple[str, str]:
    """What all arrays were at the checkpoint `three`, and at the end of the run."""
    said = run(TRAINING, size, scratch / "said", "save", layout, str(scratch / "runs"))
    assert len({(each["saved"], each["end"]) for each in said}) == 1
    return said[0]["saved"], said[0]["end"]


@pytest.mark.parametrize(
    ("layout", "size", "others"),
    [
        ("fsdp", 2, [("plain", 1), ("fsdp", 3), ("meta", 2)]),
        ("hsdp", 4, [("fsdp", 2)]),
        ("2d", 4, [("plain", 1), ("fsdp", 3)]),
        ("tp", 2, [("fsdp", 2)]),
    ],
)
def test_the_same_ranks_end_in_the_same_bits_and_others_begin_with_the_same_state(
    tmp_path, layout, size, others
):
    at_checkpoint, end = saved(tmp_path, layout, size)
    with holdfast.open(tmp_path / "runs" / "three") as checkpoint:
        assert checkpoint.verify(deep=True) == []
        assert len(checkpoint.record.parts) == size
    for said in run(TRAINING, size, tmp_path / "said", "restore", layout, str(tmp_path / "runs")):
        assert (said["restored"], said["end"], said["kept"]) == (at_checkpoint, end, [])
    for other, number in others:
        for said in run(TRAINING, number, tmp_path / "said", "restore", other, str(tmp_path / "runs")):
            assert said["restored"] == at_checkpoint, (other, number)
            assert said["kept"] == ([] if number == size else ["random"])


def test_what_cannot_be_done_is_refused_by_name_on_all_ranks(tmp_path):
    first, second = run(TRAINING, 2, tmp_path / "said", "refuse", "fsdp", str(tmp_path / "runs"))
    for each in (first, second):
        assert "DTensor that 2 processes have together" in each["alone"]
        assert "crew=" in each["alone"]
        assert "with the placement Partial, which has no value yet" in each["partial"]
        assert each["unchanged"]
    assert first["misfit"].startswith("CrewError: rank 1: the saved state does not fit")
    assert second["misfit"].startswith("StateMismatchError")
    assert (first["read"], first["tied"]) == (45.0, True)


@pytest.mark.parametrize(
    ("rank", "kind", "number", "after"),
    [
        (1, "create", 1, "before"),  # before its pack
        (1, "write", 1, "after"),  # in the middle of it
        (1, "sync_directory", 1, "after"),  # before it tells
        (0, "write", 1, "after"),
        (0, "rename_directory", 1, "before"),
        (0, "rename_directory", 1, "after"),
    ],
)
def test_a_rank_that_is_killed_in_a_save_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path, rank, kind, number, after
):
    runs = tmp_path / "runs"
    arguments = ("stop", "fsdp", str(runs), str(rank), kind, str(number), "SIGKILL", after)
    with Job(TRAINING, 2, tmp_path / "said", *arguments, CREW_TIMEOUT_S="4") as job:
        codes = job.wait()
        assert codes[rank] == -signal.SIGKILL, job.told()
        result = job.said(1 - rank)["result"]
    is_saved = (runs / "new.ckpt.mml").exists()
    assert is_saved == (after == "after" and kind == "rename_directory")
    assert (result == "saved") == is_saved
    if not is_saved:
        assert f"rank {rank} " in result
        assert "Earlier checkpoints are untouched" in result
    for name in ("old", *(["new"] if is_saved else [])):
        with holdfast.open(runs / name) as checkpoint:
            assert checkpoint.verify(deep=True) == []


def test_a_rank_that_is_stopped_for_longer_than_the_limit_hears_what_all_have_heard(tmp_path):
    runs = tmp_path / "runs"
    arguments = ("stop", "fsdp", str(runs), "1", "sync_directory", "1", "SIGSTOP", "before")
    with Job(TRAINING, 2, tmp_path / "said", *arguments, CREW_TIMEOUT_S="3") as job:
        until = time.monotonic() + 120
        while "result" not in job.said(0) and time.monotonic() < until:
            time.sleep(0.2)
        os.kill(job.said(1)["pid"], signal.SIGCONT)
        job.processes[1].wait(60)
        first, second = job.said(0)["result"], job.said(1)["result"]
    assert "rank 1 did not answer within 3 s" in first
    assert not (runs / "new.ckpt.mml").exists()
    # The store is gone with rank 0, but the disk says it.
    assert second == first or "rank 0 cannot be reached any more" in second
    assert [each.name for each in runs.iterdir()] == ["old.ckpt.mml"]


def test_torchrun_restarts_a_killed_rank_and_the_run_ends_in_the_same_bits(tmp_path):
    ends = {}
    for attempts in (0, 5):
        runs = tmp_path / f"runs{attempts}"
        runs.mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0"]
        command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--max-restarts={attempts}"]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "CREW_TIMEOUT_S": "20",
        }
        if not attempts:
            environment["UNINTERRUPTED"] = "1"
        subprocess.run(
            [*command, "-m", TRAINING, "restarted", "fsdp", str(runs), "6"],
            cwd=ROOT, env=environment, timeout=400, check=False, capture_output=True,
        )  # fmt: skip
        text = (runs / "said-0.jsonl").read_text()
        ends[attempts] = text.rpartition('"end": ')[2], text.count('"began"')
    assert ends[0][1] == 1
    assert ends[5][1] >= 2, "it was restarted"
    assert ends[0][0] == ends[5][0]
