"""`run["best"] = …`: what a script sets by name is saved, and is there after a resume."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Resume, Run
from holdfast.errors import UnsupportedStateError, UsageError
from tests.support.interrupted import begin, both_ways, every_batch, stop_after

LOSSES = [5.0, 3.0, 4.0, 2.0, 6.0, 1.0, 7.0, 0.5, 8.0]


def in_epochs(directory: Path, stop: int | None) -> Any:
    """Values of each kind: start values, changed in place and replaced, and names of mid-run."""
    window: deque[float] = deque(maxlen=3)
    history: list[Any] = []
    total = torch.zeros(2)
    with begin(directory) as run:
        run["best"] = math.inf
        run["window"], run["history"], run["total"] = window, history, total
        run["kept"] = start = np.zeros(2)
        done = 0
        for epoch in run.epochs(3):
            done = 3 * epoch
            run["sum"] = 0.0
            run["of_epoch"] = of_epoch = torch.zeros(1)
            run["epochs"] = [*run["epochs"], epoch] if "epochs" in run else [epoch]
            for loss in run.batches(LOSSES[3 * epoch : 3 * epoch + 3]):
                if loss < run["best"]:
                    run["best"], run["best_at"] = loss, {"epoch": epoch, "weights": torch.full((2,), loss)}
                window.append(loss)
                history.append(torch.tensor(loss))
                total += loss
                of_epoch += loss
                run["sum"] += loss
                run["kept"] = run["kept"] + loss
                stop_after(stop, done + run.batch)
            history.append((run["sum"], float(of_epoch)))
        report = run.last_resume
    return (
        run["best"],
        run["best_at"]["epoch"],
        run["best_at"]["weights"].tolist(),
        list(window),
        [each if isinstance(each, tuple) else float(each) for each in history],
        total.tolist(),
        run["kept"].tolist(),
        start.tolist(),
        run["epochs"],
        report is None or report.verdict,
    )


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 7, 8])
def test_a_run_that_is_interrupted_ends_with_the_values_of_one_that_is_not(at: int, tmp_path: Path):
    expected, found = both_ways(in_epochs, tmp_path, at)
    assert expected[-1] is True
    assert found[-1] in ("exact", True)
    assert found[:-1] == expected[:-1]


@pytest.mark.medium
def test_interrupted_again_and_again(tmp_path: Path):
    expected, found = both_ways(in_epochs, tmp_path, 1, 2, 4, 7)
    assert found[:-1] == expected[:-1]
    assert found[-1] == "exact"


def test_a_loop_of_steps(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory) as run:
            run["best"] = None
            for step in run.steps(9):
                if run["best"] is None or LOSSES[step] < run["best"]:
                    run["best"] = LOSSES[step]
                    run["at"] = step
                stop_after(stop, step)
        return run["best"], run["at"]

    expected, found = both_ways(train, tmp_path, 2, 5)
    assert found == expected == (0.5, 7)


@pytest.mark.medium
def test_killed_by_a_signal(tmp_path: Path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, signal, sys\n"
        "import holdfast\n"
        "with holdfast.Run(sys.argv[1], {'w': [0.0]}, checkpointing=holdfast.Checkpointing(save_on='batch_end')) as run:\n"
        "    run['best'] = 100\n"
        "    for step in run.steps(20):\n"
        "        run['best'] = min(run['best'], (step * 7) % 20 + 3)\n"
        "        run['seen'] = [*run['seen'], step] if 'seen' in run else [step]\n"
        "        if step == int(sys.argv[2]):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "print(run['best'], run['seen'] == [*range(20)], run.last_resume.verdict if run.last_resume else '')\n"
    )

    def run(where: str, kill: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(tmp_path / where), str(kill)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, env=dict(os.environ))

    uninterrupted = run("uninterrupted", -1)
    assert uninterrupted.stdout.split()[:2] == ["3", "True"], uninterrupted.stderr
    for kill in (4, 13):
        assert run("killed", kill).returncode == -signal.SIGKILL
    again = run("killed", -1)
    assert again.stdout.split() == ["3", "True", "exact"], again.stderr


def test_a_finished_run_has_its_values(tmp_path: Path):
    expected = in_epochs(tmp_path, None)
    with begin(tmp_path) as run:
        assert run["best"] == expected[0]
        run["best"] = math.inf
        assert run["best"] == expected[0]


def test_they_stand_in_the_checkpoint_beside_the_objects(tmp_path: Path):
    in_epochs(tmp_path, None)
    saved = holdfast.load(tmp_path / "train_epoch2_batch2")
    assert saved["best"] == 0.5
    assert list(saved["window"]) == [7.0, 0.5, 8.0]


def test_what_had_a_name_can_be_handed_over_later(tmp_path: Path):
    in_epochs(tmp_path, None)
    with begin(tmp_path, {"weights": [0.0], "best": math.inf}) as run:
        assert run["best"] == 0.5


def test_a_variable_of_the_script_that_is_also_a_value_comes_back_too(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        best = math.inf
        with begin(directory) as run:
            for step in run.steps(9):
                if LOSSES[step] < best:
                    best = LOSSES[step]
                    run["best"] = best
                stop_after(stop, step)
        return best, run["best"]

    expected, found = both_ways(train, tmp_path, 6)
    assert found == expected == (0.5, 0.5)


def test_the_digest_tells_values_apart(tmp_path: Path):
    digests = []
    for best in (1.0, 2.0):
        with begin(tmp_path / str(best)) as run:
            run["best"] = best
            digests.append(run.state_digest())
    assert digests[0] != digests[1]


def test_infinity_is_no_divergence(tmp_path: Path):
    with begin(tmp_path, checkpointing=every_batch(on_divergence="stop")) as run:
        run["best"] = torch.tensor(math.inf)
        for _ in run.steps(3):
            pass
    assert run.accounting.saves == 3


class TestRollback:
    def train(self, directory: Path, on_rollback: Any = None) -> Run:
        weight = np.zeros(1)
        policy = Checkpointing(mode="disk", save_on="batch_end", on_divergence="rollback")
        with Run(directory, {"w": weight}, checkpointing=policy, on_rollback=on_rollback) as run:
            run["scale"], run["seen"] = 1.0, []
            for step in run.steps(6):
                run["seen"].append(step)
                weight += 1
                if step == 4 and run["scale"] == 1.0 and not run.rollbacks:
                    run["late"] = True
                    weight[:] = np.nan
        return run

    def test_the_values_go_back(self, tmp_path: Path):
        run = self.train(tmp_path)
        assert run["seen"] == [0, 1, 2, 3, 4, 5]
        assert "late" not in run

    def test_what_on_rollback_sets_stands(self, tmp_path: Path):
        def smaller(run: Run) -> None:
            run["scale"] /= 2
            run["seen"].append("rolled back")

        run = self.train(tmp_path, smaller)
        assert run["scale"] == 0.5
        assert run["seen"] == [0, 1, 2, 3, "rolled back", 4, 5]


class TestRefused:
    @pytest.mark.parametrize("value", [torch.nn.Linear(1, 1), iter([1]), lambda: 1, print])
    def test_what_only_comes_back_into_a_live_object(self, value: Any, tmp_path: Path):
        with begin(tmp_path) as run:
            with pytest.raises(UnsupportedStateError, match="'new'"):
                run["new"] = value
            assert "new" not in run

    @pytest.mark.parametrize("name", ["run", "results", "random", "variables", "", 3])
    def test_names_that_cannot_be(self, name: Any, tmp_path: Path):
        with begin(tmp_path) as run, pytest.raises(UsageError, match="choose another name"):
            run[name] = 1

    def test_a_name_that_is_not_there(self, tmp_path: Path):
        with (
            begin(tmp_path) as run,
            pytest.raises(UsageError, match="nothing called 'best'; it has 'weights'"),
        ):
            run["best"]


def test_one_that_shares_memory_is_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        model = torch.nn.Linear(2, 1)
        with begin(directory, {"model": model}) as run:
            for step in run.steps(4):
                run["best"] = model.weight
                stop_after(stop, step)
        return run.last_resume

    _, report = both_ways(train, tmp_path, 2)
    assert report.verdict.startswith("not exact: the value 'best' shared memory")


def test_one_that_was_left_out_is_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory, checkpointing=every_batch(exclude="best")) as run:
            run["best"] = torch.zeros(1)
            for step in run.steps(4):
                run["best"] += 1
                stop_after(stop, step)
        return run.last_resume

    _, report = both_ways(train, tmp_path, 2)
    assert report.verdict.startswith("not exact: the value 'best' is not in the checkpoint")


@dataclass
class Best:
    loss: float = math.inf
    step: int = -1
    weights: Any = None


@pytest.mark.parametrize("kind", [SimpleNamespace, Best])
def test_a_namespace_that_is_handed_over_is_filled_in_place(kind: Any, tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        best = kind(loss=math.inf, step=-1, weights=None)
        with begin(directory, {"best": best}) as run:
            for step in run.steps(9):
                if LOSSES[step] < best.loss:
                    best.loss, best.step = LOSSES[step], step
                    best.weights = torch.full((2,), float(step))
                stop_after(stop, step)
            assert run["best"] is best
        verdict = "exact" if run.last_resume is None else run.last_resume.verdict
        return best.loss, best.step, best.weights.tolist(), verdict

    expected, found = both_ways(train, tmp_path, 2, 6)
    assert found == expected == (0.5, 7, [7.0, 7.0], "exact")


def test_one_that_is_not_strict_takes_values_too(tmp_path: Path):
    in_epochs(tmp_path, None)
    with begin(tmp_path, {"weights": [0.0], "more": 1}, resume=Resume(strict=False)) as run:
        assert run["best"] == 0.5
