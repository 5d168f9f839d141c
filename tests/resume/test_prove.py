"""`Resume(prove=True)`: what led to the checkpoint is done again in another process, before the run resumes from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Resume
from holdfast.errors import UsageError

SCRIPT = """
import os, sys
import numpy as np
import holdfast

holdfast.rng.seed_everything(0)
weights = np.zeros(4)
policy = holdfast.Checkpointing(save_on="epoch_end", max_to_keep=KEEP)
resume = holdfast.Resume(prove=True)
with open("starts.txt", "a") as starts:
    starts.write("started\\n")
with holdfast.Run("runs/mine", {"weights": weights}, checkpointing=policy, resume=resume) as run:
    for epoch in run.epochs(int(sys.argv[1])):
        weights += np.random.normal(size=4) NOISE
    if run.last_resume is not None:
        print(run.last_resume.rank, "|", run.last_resume.verdict)
"""


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(epochs: int, *, noise: str = "", keep: int = 3) -> subprocess.CompletedProcess[str]:
    Path("train.py").write_text(SCRIPT.replace("NOISE", noise).replace("KEEP", str(keep)))
    command = [sys.executable, "train.py", str(epochs)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def saved_verdict() -> str:
    record = holdfast.scan("runs/mine")[-1].record
    assert record is not None
    return record.details["resume"]["verdict"]


@pytest.mark.medium
def test_a_deterministic_run_is_proved_and_its_checkpoints_say_so(work):
    train(3)
    done = train(4)
    assert done.stdout == "proved | proved\n"
    assert saved_verdict() == "proved"
    assert Path("starts.txt").read_text().count("started") == 3, "one of them was the proof"
    assert sorted(os.listdir("runs")) == ["mine"]


@pytest.mark.medium
def test_a_run_that_does_not_reproduce_itself_is_not_exact(work):
    noise = "+ os.getpid()"
    train(3, noise=noise)
    done = train(4, noise=noise)
    assert done.stdout.startswith("not exact | not exact: done again from ")
    assert "'weights' is not the same" in done.stdout
    assert saved_verdict().startswith("not exact: done again")


@pytest.mark.medium
def test_without_an_earlier_checkpoint_nothing_is_proved(work):
    train(2, keep=1)
    done = train(3, keep=1)
    assert done.stdout == "exact | exact\n"
    assert "not proved: there is no checkpoint before" in done.stderr
    assert Path("starts.txt").read_text().count("started") == 2


@pytest.mark.medium
def test_a_script_that_fails_when_it_is_run_again_proves_nothing(work):
    train(3)
    Path("train.py").rename("moved.py")
    text = Path("moved.py").read_text()
    Path("moved.py").write_text(
        f"import os\nif os.environ.get('HOLDFAST_REPLAY'): raise SystemExit(7)\n{text}"
    )
    command = [sys.executable, "moved.py", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "exact | exact\n"
    assert "not proved: run again, the script ended with exit code 7" in done.stderr


@pytest.mark.medium
def test_a_replay_of_such_a_script_proves_nothing_itself(work):
    train(3)
    command = [sys.executable, "-m", "holdfast", "replay", "runs/mine/train_epoch1", "--"]
    done = subprocess.run(
        [*command, sys.executable, "train.py", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(resumed: exact)" in done.stdout
    assert Path("starts.txt").read_text().count("started") == 2


def test_what_cannot_be_proved_is_refused(tmp_path):
    with pytest.raises(UsageError, match="prove must be True or False, not 'yes'"):
        Resume(prove="yes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holdfast replay proves any other run"):
        Resume.of(Resume(prove=True), cannot={"prove": "a Run does it; holdfast replay proves any other run"})


def test_a_notebook_has_no_script_to_run_again(tmp_path, monkeypatch):
    def train(epochs: int) -> None:
        weights = np.zeros(2)
        with holdfast.Run(tmp_path, {"weights": weights}, resume=Resume(prove=True)) as run:
            for _ in run.epochs(epochs):
                weights += 1

    train(2)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(UsageError, match="there is none here: leave it out in a notebook"):
        train(3)
