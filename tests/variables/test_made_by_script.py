"""What only the script can make, or say the class of: tables with a function for what is missing, frozen dataclasses, estimators."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.interrupted import Interrupted, begin, both_ways, check_exact, stop_after


def zeros() -> np.ndarray:
    return np.zeros(2)


class Agent:
    def __init__(self) -> None:
        self.values: Any = defaultdict(lambda: [0.0, 0.0])
        self.seen: Any = defaultdict(zeros)


def tables(directory: Path, stop: int | None) -> Any:
    values, agent, row = defaultdict(zeros), Agent(), None
    with begin(directory) as run:
        for step in run.steps(9):
            row = values[step % 4, step % 2] if row is None or step % 2 else row
            row += step
            agent.values[step % 3][1] += float(row.sum())
            agent.seen[f"s{step % 5}"] += values[0, 0]
            stop_after(stop, step)
    found = [{key: [*each] for key, each in one.items()} for one in (values, agent.values, agent.seen)]
    return (found, [*agent.values["new"]], [*values["new"]]), run.last_resume


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    betas: tuple[float, ...] = (0.9,)
    history: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Other:
    rate: float = 0.1
    betas: tuple[float, ...] = (0.9,)


@dataclasses.dataclass
class Stage:
    settings: Settings = Settings()
    level: int = 0


def frozen(directory: Path, stop: int | None) -> Any:
    stage, settings, small, total = Stage(), Settings(), Other(), 0.0
    same = settings
    with begin(directory) as run:
        for step in run.steps(9):
            total += stage.settings.rate + settings.rate * small.rate + len(same.history)
            stage.settings = dataclasses.replace(stage.settings, rate=0.9 * stage.settings.rate)
            settings.history.append(step)
            if step % 3 == 1:
                settings = same = dataclasses.replace(settings, betas=(*settings.betas, float(step)))
                small = Other(small.rate / 2)
            stop_after(stop, step)
    return (total, stage, settings, same is settings, small, Stage()), run.last_resume


def estimators(directory: Path, stop: int | None) -> Any:
    """One learns in place, one is made anew in some turns, and one never changes."""
    linear = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng, classes = np.random.default_rng(0), np.array([0, 1])
    model, scalers = linear.SGDClassifier(random_state=0), [preprocessing.StandardScaler()]
    best = linear.Ridge()
    constant, score = linear.Ridge().fit(np.eye(2), [1, 2]), 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            x = rng.normal(size=(8, 2))
            scaled = scalers[0].partial_fit(x).transform(x)
            model.partial_fit(scaled, x.sum(1) > 0, classes)
            if step % 3 == 1:
                best = linear.Ridge().fit(x, x[:, 0])
            elif step == 0:
                best.fit(x, x[:, 1])
            score += float(
                model.decision_function(x).sum() + best.predict(x).sum() + constant.predict(x).sum()
            )
            stop_after(stop, step)
    return (score, [*best.coef_], model.t_), run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
@pytest.mark.parametrize("train", [tables, frozen, estimators], ids=lambda each: each.__name__)
def test_it_comes_back(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)


def test_a_table_that_is_replaced_or_another_thing_now_is_not_taken_for_exact(tmp_path: Path):
    def train(directory: Path, stop: int | None, *, replaced: bool, first: Any) -> Any:
        table = first
        with begin(directory) as run:
            for step in run.steps(6):
                table[step] = [step]
                table = defaultdict(zeros, table) if replaced else table
                stop_after(stop, step)
        return table, run.last_resume

    for replaced in (True, False):
        directory = tmp_path / str(replaced)
        with pytest.raises(Interrupted):
            train(directory, 3, replaced=replaced, first=defaultdict(zeros))
        _, report = train(directory, None, replaced=replaced, first=defaultdict(zeros) if replaced else {})
        assert report.verdict.startswith("exact but for: table" if replaced else "not exact: the variable")


@pytest.mark.parametrize("first", [None, Other()])
def test_a_frozen_dataclass_of_another_class_is_named(first: Any, tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        settings = first
        with begin(directory) as run:
            for step in run.steps(6):
                if step == 1:
                    settings = Settings(0.5)
                stop_after(stop, step)
        return settings, run.last_resume

    _, (_, report) = both_ways(train, tmp_path, 3)
    assert report.verdict == "exact but for: settings"
