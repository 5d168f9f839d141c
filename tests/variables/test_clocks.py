"""Readings of clocks are no state; what only looks like one is saved."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.variables._looks import clocks as clocks_module
from holdfast.variables._looks.clocks import Clocks
from tests.support.interrupted import begin, both_ways, stop_after


@pytest.fixture
def clocks() -> Clocks:
    made = Clocks()
    made.begin()
    return made


@pytest.mark.parametrize("name", ["t0", "start_time", "self.iter_time", "tic", "log.last", "began_s"])
def test_what_a_clock_has_shown_since_is_a_reading(clocks: Clocks, name: str):
    assert any(clocks.has_shown(name, time.perf_counter()) for _ in range(20))  # one in 1,000 ends in zeros
    assert clocks.has_shown(name, time.perf_counter_ns())
    assert clocks.has_shown("whatever", time.time())
    assert clocks.has_shown("whatever", time.time_ns())
    assert all(clocks.has_shown("whatever", each) for each in (datetime.now(), datetime.now(UTC)))


def test_what_lies_before_the_loop_or_is_a_difference_is_state(clocks: Clocks):
    before = time.time() - 3600
    for value in (before, datetime.now() - timedelta(days=1), time.time() - before, time.perf_counter() / 2):
        assert not clocks.has_shown("start_time", value)


@pytest.mark.parametrize("name", ["known_best", "beta_t", "start_lr", "t", "warmup_steps", "a"])
def test_what_is_not_named_for_a_time_is_state(clocks: Clocks, name: str):
    assert not clocks.has_shown(name, time.perf_counter())
    assert not clocks.has_shown(name, time.perf_counter_ns())


@pytest.mark.parametrize("steps", [0.01, 1 / 60, 0.125, 0.7])
def test_a_simulated_time_that_passes_a_clock_is_state(steps: float):
    made = Clocks()
    made.begin()
    made._began |= dict.fromkeys(clocks_module._OTHERS, 0.0)
    simulated = 0.0
    for _ in range(200):
        simulated += steps
        assert not made.has_shown("env.time", simulated)
        assert not made.has_shown("sim_t", simulated)


def test_floats_that_are_named_like_clocks_are_saved(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        t, beta_t, start_lr, known_best, warmup_time = 0.0, 1.0, 1.5, 0.5, 0.5
        env, total = SimpleNamespace(time=0.0, now=datetime(2020, 1, 1)), 0.0
        with begin(directory) as run:
            for step in run.steps(6):
                t += 0.01
                beta_t *= 0.9
                start_lr *= 0.9
                known_best += 0.7
                warmup_time += 0.7
                env.time += 0.25 + step / 100
                env.now += timedelta(hours=1)
                total += t + beta_t + start_lr + known_best + warmup_time + env.time
                stop_after(stop, step)
        return total, env.time, env.now, run.last_resume and run.last_resume.verdict

    expected, resumed = both_ways(train, tmp_path, 2)
    assert resumed[:3] == expected[:3]
    assert resumed[3] == "exact"


def test_the_time_that_a_run_has_taken_adds_up(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> float:
        elapsed = 0.0
        with begin(directory) as run:
            for step in run.steps(4):
                started = time.perf_counter()
                time.sleep(0.01)
                elapsed += time.perf_counter() - started
                stop_after(stop, step)
        return elapsed

    _, resumed = both_ways(train, tmp_path, 2)
    assert resumed >= 0.04
