"""A run whose policy names hooks that never come says so at its first epoch's end, and fails at its end."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import holdfast
from holdfast import Run
from holdfast.errors import NothingSavedError
from tests.support.small_loop import policy


def epochs(run: Run, number: int = 3) -> None:
    """A loop that goes through its data by itself."""
    for _ in run.epochs(number):
        for _ in [1, 2]:
            run["w"] += 1


def steps(run: Run) -> None:
    for _ in run.steps(5):
        run["w"] += 1


@pytest.mark.parametrize(
    ("hook", "loop", "named"),
    [
        ("batch_end", epochs, "for batch in run.batches"),
        (["batch_start", "batch_end"], epochs, "batch_start and batch_end"),
        ("epoch_end", steps, "for epoch in run.epochs"),
        ("epoch_start", steps, "for epoch in run.epochs"),
    ],
)
def test_a_warning_after_the_first_epoch_and_an_error_at_the_end(tmp_path, caplog, hook, loop, named):
    weight, warned = np.zeros(2), []
    run = Run(tmp_path, {"w": weight}, checkpointing=policy(save_on=hook))

    def train() -> None:
        with run:
            for turn in run.epochs(3) if loop is epochs else run.steps(3):
                weight[:] += turn
                warned.append(len([each for each in caplog.records if each.levelno == logging.WARNING]))

    with pytest.raises(NothingSavedError, match=named):
        train()
    assert warned == [0, 1, 1]
    assert weight.tolist() == [3.0, 3.0]  # it was trained to its end
    assert holdfast.scan(tmp_path) == []
    Run(tmp_path, {"w": weight}, checkpointing=policy()).__enter__().__exit__(None, None, None)  # let go of


@pytest.mark.parametrize("hook", ["batch_end", "epoch_end", "phase_end", "phase_start"])
def test_loops_that_announce_it_are_fine(tmp_path, caplog, hook):
    with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=policy(save_on=hook)) as run:
        for _ in run.epochs(2):
            list(run.batches([1, 2]))
    assert holdfast.scan(tmp_path)
    assert "nothing will be saved" not in caplog.text


def test_no_other_error_is_hidden(tmp_path):
    def fail() -> None:
        with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=policy(save_on="batch_end")) as run:
            epochs(run)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_what_was_saved_on_request_counts(tmp_path):
    with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=policy(save_on="batch_end")) as run:
        epochs(run)
        run.save("mine")


def test_a_run_that_trains_nothing_may_save_nothing(tmp_path):
    with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=policy(save_on="batch_end")) as run:
        assert list(run.epochs(0)) == []


def test_hooks_that_come_and_are_never_due_are_warned_of(tmp_path, caplog):
    with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=policy(save_on="epoch_end", every_n=5)) as run:
        epochs(run)
    assert "has saved nothing: the policy found no save due" in caplog.text


def test_time_alone_may_ask_for_no_save(tmp_path):
    with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=policy(when="1 h")) as run:
        epochs(run)
