"""What one resume of a run was not exact in, the next one says again: what it has changed is part of the state by then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Resume, Run, Verdict, Write, fingerprint
from tests.support.small_runs import At, on_disk, train
from tests.support.small_runs import experiment as make

CHANGED = "config/start was 0.0 and is now 2.0 in the script"
AGAIN = f"not exact: at an earlier resume, {CHANGED}"


class Crash(Exception):
    """Ends a run from within."""


def loop(directory: Path, crash: int | None = None, *, start: float = 0.0, **options) -> Run:
    """Twenty steps, each saved; `start`: a setting that the script may change."""
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    objects = {"weight": np.zeros(1), "config": {"start": start}}
    ignore = options.pop("ignore", "places")
    places = iter(range(100))
    with Run(directory, objects, checkpointing=policy, **options) as run:
        run.ignore(ignore)
        for step in run.steps(20):
            if step == crash:
                raise Crash
            run["weight"][:] += 1
            if step == 1:
                next(places)
    return run


def killed(directory: Path, crash: int, **options) -> None:
    with pytest.raises(Crash):
        loop(directory, crash, **options)


def noted(directory: Path, name: str | None = None) -> dict:
    found = {each.record.name: each.record for each in holdfast.scan(directory) if each.record}
    return (found[name] if name else [*found.values()][-1]).details["resume"]


def test_what_was_not_exact_once_is_said_at_every_later_resume(tmp_path):
    killed(tmp_path, 5)
    killed(tmp_path, 8, start=2.0)
    assert noted(tmp_path)["verdict"] == f"not exact: {CHANGED}"
    killed(tmp_path, 11, start=2.0)
    assert noted(tmp_path)["verdict"] == AGAIN
    run = loop(tmp_path, start=2.0)
    assert run.last_resume.verdict == AGAIN
    assert run.last_resume.rank is Verdict.NOT_EXACT
    assert run.last_resume.differences == (AGAIN.removeprefix("not exact: "),)


def test_what_is_not_exact_again_is_said_once_and_before_what_was(tmp_path):
    killed(tmp_path, 5)
    killed(tmp_path, 8, start=2.0)
    killed(tmp_path, 11, start=3.0)
    now = "config/start was 2.0 and is now 3.0 in the script"
    assert noted(tmp_path)["differences"] == [now, AGAIN.removeprefix("not exact: ")]
    differences = loop(tmp_path, start=3.0).last_resume.differences
    assert differences == (f"at an earlier resume, {now}", AGAIN.removeprefix("not exact: "))


def test_a_checkpoint_from_before_an_inexact_resume_hands_nothing_down(tmp_path):
    killed(tmp_path, 5)
    killed(tmp_path, 8, start=2.0)
    killed(tmp_path, 7, resume=Resume("train_epoch0_batch3"))
    assert noted(tmp_path, "train_epoch0_batch6")["verdict"] == "exact"
    assert loop(tmp_path, resume="train_epoch0_batch6").last_resume.verdict == "exact"
    assert "differences" not in noted(tmp_path)


def test_a_fork_begins_a_run_of_its_own(tmp_path):
    killed(tmp_path / "runs", 5)
    killed(tmp_path / "runs", 8, start=2.0)
    holdfast.fork(holdfast.scan(tmp_path / "runs")[-1], tmp_path / "fork")
    assert loop(tmp_path / "fork", start=2.0).last_resume.verdict == "exact"


def test_lost_variables_are_named_at_every_later_resume_until_the_script_ignores_them(tmp_path):
    killed(tmp_path, 5, ignore="nothing")
    killed(tmp_path, 8, ignore="nothing")
    killed(tmp_path, 11, ignore="nothing")
    assert noted(tmp_path)["verdict"] == "exact but for: places"
    assert noted(tmp_path)["unsaved"] == ["places"]
    killed(tmp_path, 14)  # which says that it decides nothing
    assert noted(tmp_path)["verdict"] == "exact"


@pytest.mark.medium
def test_it_is_not_proved_over_an_earlier_resume(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    says = [
        subprocess.run(
            [sys.executable, script, start, crash], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        for start, crash in (("0", "5"), ("2", "8"), ("2", "99"))
    ]
    assert says[-1].stdout.strip() == AGAIN, says


_SCRIPT = """
import os, sys
import numpy as np
from holdfast import Checkpointing, Resume, Run

objects = {"weight": np.zeros(1), "config": {"start": float(sys.argv[1])}}
policy = Checkpointing(save_on="batch_end")
with Run("runs", objects, checkpointing=policy, resume=Resume(prove=sys.argv[2] == "99")) as run:
    for step in run.steps(20):
        if step == int(sys.argv[2]):
            os._exit(9)
        objects["weight"] += 1
print(run.last_resume.verdict)
"""


def test_a_save_before_anything_was_compared_is_not_taken_for_exact(tmp_path):
    killed(tmp_path, 5)
    with Run(tmp_path, {"weight": np.zeros(1), "config": {"start": 0.0}}) as run:
        run["weight"][:] = 7
        run.save("early")
        run.steps(0)
    verdict = loop(tmp_path, resume=Resume("early")).last_resume.verdict
    assert verdict.startswith(
        "not exact: at an earlier resume, a checkpoint was saved before its state was compared"
    )


def test_a_rollback_is_a_part_of_the_run_and_no_resume(tmp_path):
    def go(crash: int | None) -> Run:
        policy = Checkpointing(
            save_on="batch_end", write=Write(durability="process"), on_divergence="rollback"
        )
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy) as run:
            for step in run.steps(12):
                if step == crash:
                    raise Crash
                run["weight"][:] += 1
                run.log(loss=np.nan if step == 5 and not run.rollbacks else 1.0)
        return run

    with pytest.raises(Crash):
        go(8)
    assert noted(tmp_path)["verdict"].startswith("not exact: rolled back (1)")
    assert go(None).last_resume.verdict == "exact"


def test_an_experiment_says_it_again(tmp_path, monkeypatch):
    def go(crash: int) -> str:
        phase = train(n_epochs=3, checkpointing=on_disk("batch_end"))
        experiment = make(tmp_path, phase, callbacks=[At("batch_end", 1, crash, do=Crash())])
        with pytest.raises(Crash):
            experiment.run(resume=True, progress=False)
        return "" if experiment.last_resume is None else experiment.last_resume.verdict

    now = fingerprint.versions()
    go(1)
    monkeypatch.setattr(fingerprint, "versions", lambda: now | {"numpy": "1.0"})
    said = go(3)
    assert said == f"not exact: numpy was {now['numpy']} and is 1.0"
    assert go(4) == said.replace("not exact: ", "not exact: at an earlier resume, ")


@pytest.mark.medium
def test_nonsense_in_a_record_hands_nothing_down(tmp_path, monkeypatch):
    from holdfast.runtime import _directory

    for number, nonsense in enumerate([3, {"differences": 3}, {"differences": [1], "unsaved": "text"}]):
        with monkeypatch.context() as patched:
            patched.setattr(_directory.ExperimentDirectory, "_details", lambda *_, n=nonsense: {"resume": n})
            killed(tmp_path / str(number), 5)
        assert loop(tmp_path / str(number)).last_resume.verdict == "exact"
