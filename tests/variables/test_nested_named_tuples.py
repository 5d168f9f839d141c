"""Named tuples within named tuples, as states of optimizers of JAX are: each is of its class again, or named at the first save."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.interrupted import begin, check_exact, stop_after

pytestmark = pytest.mark.medium

OF_A_LIBRARY: Any = statistics.LinearRegression


class State(NamedTuple):
    weights: dict[str, Any]
    moments: Any


def of_one_from_before(directory: Path, stop: int | None) -> Any:
    state = State({"w": np.zeros(3)}, (OF_A_LIBRARY(0, np.zeros(3)), ()))
    with begin(directory) as run:
        for step in run.steps(8):
            moments = state.moments[0]
            mean = 0.9 * moments.intercept + step
            moments = OF_A_LIBRARY(moments.slope + 1, mean)
            state = State({"w": state.weights["w"] + mean}, (moments, state.moments[1]))
            stop_after(stop, step)
    return (state.weights["w"].tolist(), state.moments[0].slope), run.last_resume


@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
def test_they_come_back(at: tuple[int, ...], tmp_path: Path):
    check_exact(of_one_from_before, tmp_path, *at)


def of_new_ones_in_a_list(directory: Path) -> list[State]:
    kept = list[State]()
    with begin(directory) as run:
        for step in run.steps(3):
            last = State({}, OF_A_LIBRARY(step, 0))
            kept.append(last)
    return kept


def test_those_that_only_a_list_holds_are_named_at_the_first_save(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    assert len(of_new_ones_in_a_list(tmp_path)) == 3
    assert any("kept" in each and "which class" in each for each in caplog.messages)
