"""`Run` on several real processes (gloo, FSDP2): one checkpoint for all, and a restart ends in the same bits on every rank."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

import holdfast
from tests.support.ranks import Job, run

SCRIPT = "tests.support.sharded_run"
PATIENCE_S = 500.0
pytestmark = pytest.mark.slow


def ends(said: list[dict[str, Any]]) -> list[Any]:
    """What must be the same whether a run was interrupted or not, by rank; of what was seen, the end."""
    return [(each["end"], each["digest"], each["total"], each["drawn"], each["losses"]) for each in said]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> list[dict[str, Any]]:
    scratch = tmp_path_factory.mktemp("uninterrupted")
    said = run(SCRIPT, 2, scratch / "said", str(scratch / "runs"))
    first, second = said
    assert first["end"] == second["end"]
    assert first["digest"] == second["digest"]
    assert first["seen"] != second["seen"], "each rank has data of its own"
    assert first["drawn"] != second["drawn"]
    assert first["verdict"] is None
    return said


def interrupted(tmp_path: Path, *action: str) -> Path:
    """Kill a rank, or all; what is left of the others is ended, as a launcher does."""
    runs = tmp_path / "runs"
    with Job(SCRIPT, 2, tmp_path / "said", str(runs), *action, LIMIT_S="15") as job:
        victim = 1 if action[1] == "1" else 0
        assert job.processes[victim].wait(PATIENCE_S) == -signal.SIGKILL, job.told()
    return runs


@pytest.mark.parametrize(("rank", "batch"), [("all", 1), ("1", 4), ("all", 9), ("0", 11)])
def test_a_job_that_is_killed_ends_in_the_same_bits_on_every_rank(tmp_path, uninterrupted, rank, batch):
    runs = interrupted(tmp_path, "killed", rank, str(batch))
    said = run(SCRIPT, 2, tmp_path / "again", str(runs))
    assert ends(said) == ends(uninterrupted)
    for each, complete in zip(said, uninterrupted, strict=True):
        assert each["seen"] == complete["seen"]
        assert each["verdict"] == ("exact" if batch >= 3 else None)
    newest = {"train_epoch0_batch5", "train_epoch1_batch2", "train_epoch1_batch5"}
    origin = {each["began"] for each in said} - {None}
    assert {path.name.partition(".")[0] for path in runs.glob("*.ckpt.mml")} == newest | origin, "max_to_keep"
    for path in runs.glob("*.ckpt.mml"):
        with holdfast.open(path) as checkpoint:
            assert checkpoint.verify(deep=True) == []
            assert len(checkpoint.record.parts) == 2


@pytest.mark.parametrize(
    ("rank", "kind", "number"), [("1", "write", "4"), ("0", "write", "8"), ("1", "sync_directory", "3")]
)
def test_a_rank_that_dies_in_a_save_leaves_what_all_resume_from(tmp_path, uninterrupted, rank, kind, number):
    runs = tmp_path / "runs"
    other = 1 - int(rank)
    arguments = (str(runs), "killed_in_save", rank, kind, number)
    with Job(SCRIPT, 2, tmp_path / "said", *arguments, LIMIT_S="8") as job:
        assert job.processes[int(rank)].wait(PATIENCE_S) == -signal.SIGKILL, job.told()
        assert job.processes[other].wait(PATIENCE_S) == 3, job.told()
        failed = job.said(other)["failed"]
    assert failed.startswith("SaveError"), failed
    assert f"rank {rank} " in failed
    said = run(SCRIPT, 2, tmp_path / "again", str(runs))
    assert ends(said) == ends(uninterrupted)


def test_damage_that_one_rank_finds_sends_all_to_the_next_older_one(tmp_path, uninterrupted):
    runs = interrupted(tmp_path, "killed", "all", "10")
    newest = max(holdfast.scan(runs), key=lambda each: each.record.seq)
    for pack in Path(newest.path).glob("*.101000.safetensors"):  # of rank 1
        data = bytearray(pack.read_bytes())
        data[-8] ^= 1
        pack.write_bytes(data)
    said = run(SCRIPT, 2, tmp_path / "again", str(runs))
    assert ends(said) == ends(uninterrupted)
    assert {each["began"] for each in said} == {"train_epoch0_batch5"}
    assert [each.name.partition(".damaged-")[0] for each in runs.glob("*.damaged-*")] == [
        Path(newest.path).name
    ]


def test_what_several_processes_cannot_do_is_refused_by_name_on_all(tmp_path):
    for said in run(SCRIPT, 2, tmp_path / "said", str(tmp_path / "runs"), "refused"):
        for name, what in {
            "exception": "save_on_exception does not work in a Run of several processes",
            "divergence": "on_divergence does not work in a Run of several processes",
            "lazy": "snapshot='lazy' does not work in a Run of several processes",
            "shared": "share_directory=True does not work in a Run of several processes",
            "proved": "Resume(prove=…) does not work in a Run of several processes",
        }.items():
            assert said[name].startswith("UsageError"), (name, said[name])
            assert what in said[name]


def test_another_number_of_processes_and_other_objects_on_one_are_refused_by_all_in_words(
    tmp_path, uninterrupted
):
    runs = interrupted(tmp_path, "killed", "all", "10")
    before = sorted(path.name for path in runs.iterdir())
    for number in (1, 3):
        for said in run(SCRIPT, number, tmp_path / f"on{number}", str(runs), "resumed"):
            assert "saved by 2 processes together" in said["failed"]
    first, second = run(SCRIPT, 2, tmp_path / "unlike", str(runs), "unlike")
    assert "'more' is here and was not saved" in second["unlike"]
    assert first["unlike"].startswith("CrewError: rank 1: ")
    assert "'more' is here and was not saved" in first["unlike"]
    assert sorted(path.name for path in runs.iterdir()) == before
    assert ends(run(SCRIPT, 2, tmp_path / "again", str(runs))) == ends(uninterrupted)


def test_names_that_are_used_again_are_replaced(tmp_path):
    for said in run(SCRIPT, 2, tmp_path / "said", str(tmp_path / "runs"), "manual"):
        assert [name for name in said["left"] if not name.startswith(".")] == [
            "chosen.ckpt.mml",
            "last.ckpt.mml",
        ]


def test_where_each_process_has_all_of_the_model_its_run_is_its_own(tmp_path):
    first, second = run(SCRIPT, 2, tmp_path / "said", str(tmp_path / "runs"), "plain")
    assert first["own"] == second["own"] == [[], []], "of the first step, and of the end: no parts"
    assert second["same"].startswith("RunActiveError")


def test_a_variable_that_processes_have_together_is_named(tmp_path):
    run(SCRIPT, 2, tmp_path / "said", str(tmp_path / "runs"), "averaged", "1")
    for said in run(SCRIPT, 2, tmp_path / "again", str(tmp_path / "runs"), "averaged", "2"):
        assert said["verdict"].startswith("exact but for: averages")


def reasons(runs: Path) -> dict[str, str]:
    """Of all checkpoints, which are intact and have a part of each rank, by name."""
    found = {}
    for each in holdfast.scan(runs):
        with holdfast.open(each.path) as checkpoint:
            assert checkpoint.verify(deep=True) == []
            assert len(checkpoint.record.parts) == 2
            found[checkpoint.record.name] = checkpoint.record.reason
    return found


@pytest.mark.parametrize("ranks", ["0", "1", "01"])
def test_a_signal_to_any_rank_lets_all_save_at_one_hook_and_leave(tmp_path, uninterrupted, ranks):
    runs = tmp_path / "runs"
    with Job(SCRIPT, 2, tmp_path / "said", str(runs), "signalled", ranks, "3", LIMIT_S="15") as job:
        assert job.wait(PATIENCE_S) == [75, 75], job.told()
    assert list(reasons(runs).values())[-1] == "told to leave (SIGTERM)"
    said = run(SCRIPT, 2, tmp_path / "again", str(runs))
    assert ends(said) == ends(uninterrupted)
    assert {each["verdict"] for each in said} == {"exact"}


@pytest.mark.parametrize("when", ["default", "0.3 s"])
def test_time_saves_on_all_ranks_at_one_hook(tmp_path, uninterrupted, when):
    runs = tmp_path / "runs"
    with Job(SCRIPT, 2, tmp_path / "said", str(runs), "slowly", when, "9", LIMIT_S="15") as job:
        assert job.wait(PATIENCE_S) == [-signal.SIGKILL] * 2, job.told()
    found = reasons(runs)
    assert len(found) >= (1 if when == "default" else 2)
    assert all("since the last save" in each for each in found.values()), found
    said = run(SCRIPT, 2, tmp_path / "again", str(runs), "slowly", when)
    assert ends(said) == ends(uninterrupted)
    assert {each["verdict"] for each in said} == {"exact"}


@pytest.mark.parametrize(("how", "why"), [("request", "request()"), ("file", "the file save-now")])
def test_what_is_requested_of_one_rank_all_save(tmp_path, uninterrupted, how, why):
    said = run(SCRIPT, 2, tmp_path / "said", str(tmp_path / "runs"), "requested", "1", how)
    assert ends(said) == ends(uninterrupted)
    assert list(reasons(tmp_path / "runs").values()) == [f"requested by {why}", "phase_end"]
