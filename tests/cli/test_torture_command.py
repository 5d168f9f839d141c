"""`holdfast torture`: scripts of one's own are killed and their disk fills up; it says if they end the same, and what was lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from holdfast import Experiment
from holdfast.harness import place, seen

# Numbers alone, so that a start takes a fraction of a second. What is `average` for the second is not saved.
SCRIPT = """
import sys
import time
import numpy as np
import holdfast

weights, average = np.zeros(20_000), np.zeros(20_000)
np.random.seed(0)
parts = {"weights": weights} | ({"average": average} if "whole" in sys.argv else {})
policy = holdfast.Checkpointing(mode="disk", save_on="batch_end", every_n=4, max_to_keep=3, write=holdfast.Write(durability="process"))
with holdfast.Run(DIRECTORY, parts, checkpointing=policy, variables='off') as run:
    for step in run.steps(60):
        weights += 0.1 * (np.random.normal(size=weights.shape) - average)
        average += 0.1 * (weights - average)
        time.sleep(0.01)
"""


@pytest.fixture
def script(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("DIRECTORY", "'runs/mine'"))
    return script


@pytest.mark.medium
def test_an_exact_script_is_killed_and_ends_in_the_same_state(script, holdfast, tmp_path):
    done = holdfast("torture", "--kills", 3, "--seed", 1, "--json", "--", sys.executable, script, "whole")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["same"]
    assert (report["checkpoints"], report["last"], report["steps"]) == (
        3,
        "runs/mine/train_epoch0_batch59",
        60,
    )
    [trial] = report["trials"]
    assert trial["checkpoint"] == report["last"]
    assert len(trial["injuries"]) == 3
    for injury in trial["injuries"]:
        assert injury["what"] == "killed"
        assert 0 <= injury["lost_steps"] < 9  # of 4 between saves, and of the save that was under way
        assert 0 <= injury["lost_s"] <= injury["at_s"] + 0.1
        assert injury["damaged"] == []
    assert any(injury["resumes_from"] for injury in trial["injuries"])
    assert not Path(report["directory"]).exists()
    assert not (tmp_path / "runs").exists(), "the script's own directory was not touched"


@pytest.mark.slow
def test_a_script_that_leaves_something_out_is_found_out_and_what_differs_is_named(
    script, holdfast, tmp_path
):
    kept = tmp_path / "kept"
    done = holdfast(
        "torture", "--kills", 2, "--seed", 1, "--directory", kept, "--", sys.executable, script, "forgets"
    )
    assert done.exit_code == 8, done.output
    lines = done.output.splitlines()
    assert any(line.startswith("differs  killed, 2 times; lost ") for line in lines), done.output
    assert "         weights" in lines
    assert any(line.startswith("         first seen in runs/mine/train_epoch0_batch") for line in lines)
    assert (kept / "uninterrupted/runs/mine/train_epoch0_batch59.ckpt.mml").is_dir()
    assert (kept / "killed/runs/mine/train_epoch0_batch59.ckpt.mml").is_dir()


@pytest.mark.slow
def test_a_disk_that_refuses_ends_a_save_and_not_the_run(script, holdfast):
    command = [sys.executable, script, "whole"]
    done = holdfast("torture", "--kills", 0, "--disk-full", 3, "--seed", 5, "--json", "--", *command)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    [trial] = report["trials"]
    assert report["same"]
    assert trial["checkpoint"] == report["last"]
    for injury in trial["injuries"]:
        assert injury["what"] == "disk full"
        assert injury["exit_code"] == 1, "a save that failed ends this script"
        assert 0 < injury["limit_bytes"] < 400_000
        assert injury["damaged"] == []


@pytest.mark.slow
def test_a_script_may_be_told_its_directory_by_its_arguments(holdfast, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT.replace("DIRECTORY", "sys.argv[2]"))
    command = [sys.executable, "train.py", "whole", "{dir}/mine"]
    done = holdfast("torture", "--kills", 1, "--seed", 1, "--json", "--", *command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["last"] == "mine/train_epoch0_batch59"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no such data')", "fails even uninterrupted, with exit code 1: no such data"),
        ("pass", "saved no checkpoint where it should"),
    ],
)
def test_a_script_that_cannot_be_tortured_is_wrong_usage(holdfast, code, said):
    done = holdfast("torture", "--", sys.executable, "-c", code)
    assert done.exit_code == 2
    assert said in done.output


def test_what_makes_no_sense_is_refused_before_anything_runs(holdfast, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("mine")
    ran = tmp_path / "ran"
    command = [sys.executable, "-c", f"open({str(ran)!r}, 'w')"]
    for arguments in (["--kills", 0], ["--directory", tmp_path / "there"]):
        assert holdfast("torture", *arguments, "--", *command).exit_code == 2
    assert not ran.exists()
    done = holdfast("torture", "--", "no-such-command-anywhere")
    assert (done.exit_code, "cannot be run" in done.output) == (2, True)


def test_runs_are_redirected_only_where_the_environment_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place("runs/a") == "runs/a"
    root = tmp_path / "else"
    monkeypatch.setenv("HOLDFAST_DIRECTORY", str(root))
    assert place("runs/a") == f"{root}/runs/a"
    assert place(tmp_path / "runs/b") == f"{root}/runs/b"
    assert place("/data/c") == f"{root}/data/c"
    assert place(place("runs/a")) == place("runs/a")
    assert Experiment("e", directory="runs/a").directory == root / "runs/a"


def test_a_step_that_nobody_told_is_not_seen(tmp_path):
    assert seen(tmp_path / "steps") is None
    (tmp_path / "steps").write_bytes(b"\0" * 16)
    assert seen(tmp_path / "steps") is None
    assert os.environ.get("HOLDFAST_STEP_FILE") is None


@pytest.mark.medium
def test_a_script_that_no_kill_hits_proves_nothing(tmp_path, monkeypatch, holdfast):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "train.py"
    script.write_text(
        "import holdfast\nwith holdfast.Run('runs/mine', {'n': 0}) as run:\n    for _ in run.steps(1):\n        pass\n"
    )
    monkeypatch.setattr(
        "holdfast.harness.torture._kill", lambda *details: None
    )  # it has ended before the first
    done = holdfast("torture", "--kills", 1, "--seed", 1, "--", sys.executable, script)
    assert done.exit_code == 9, done.output
    assert "the script ended before the first kill" in done.output
    assert "nothing was proved" in done.output
    assert "same  " not in done.output
