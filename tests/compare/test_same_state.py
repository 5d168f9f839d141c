"""`diff(…).same_state` says the same as `state_digest()`: ids and times of a run are no part of it."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from typer.testing import CliRunner

import holdfast
from holdfast.cli import app
from tests.support.small_loop import policy
from tests.support.small_runs import experiment, on_disk
from tests.support.small_runs import train as phase


def train(directory, *, step=1.0, draws=False):
    weight = np.zeros(3)
    random.seed(holdfast.__file__ if draws else None)
    with holdfast.Run(directory, {"weight": weight}, checkpointing=policy()) as run:
        for _ in run.epochs(2):
            weight += step + (random.random() if draws else 0)
            run.log(loss=float(weight[0]))
    return run.state_digest(), directory / "train_epoch1.ckpt.mml"


@pytest.mark.parametrize("draws", [True, False])
def test_two_runs_of_one_script(tmp_path, draws):
    (digest, a), (other, b) = (train(tmp_path / name, draws=draws) for name in "ab")
    assert digest == other
    found = holdfast.diff(a, b)
    assert found.same_state
    assert "run/id" in found.ignored
    assert {change.path for change in found.values} >= {"run/id"}  # shown all the same


def test_two_runs_that_differ(tmp_path):
    (digest, a), (other, b) = train(tmp_path / "a"), train(tmp_path / "b", step=2.0)
    assert digest != other
    assert not holdfast.diff(a, b).same_state


def test_a_random_state_that_one_run_has_used_counts(tmp_path):
    _, a = train(tmp_path / "a")
    _, b = train(tmp_path / "b", step=1.0, draws=True)
    assert any(path.startswith("random/") for path in set(holdfast.diff(a, b).differing))
    assert not holdfast.diff(a, b).same_state


def test_two_experiments(tmp_path):
    for name in "ab":
        experiment(tmp_path / name, phase(n_epochs=1, checkpointing=on_disk()), seed=3).run()
    found = holdfast.diff(*(tmp_path / name / "train" / "train_epoch0.ckpt.mml" for name in "ab"))
    assert found.same_state, [path for path in found.differing if path not in found.ignored]


def test_the_command_says_so(tmp_path):
    a, b = (str(train(tmp_path / name)[1]) for name in "ab")
    told = json.loads(CliRunner().invoke(app, ["diff", a, b, "--json"]).stdout)
    assert told["same_state"]
    assert "run/id" in told["ignored"]
    shown = CliRunner().invoke(app, ["diff", a, b]).stdout
    assert "The states are the same, bit for bit" in shown
    assert "but for ids and times" in shown
