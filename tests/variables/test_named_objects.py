"""Variables that name another object than when the loop began: they do so again, or are named in the verdict."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from holdfast.variables._looks.identity import find, name_of
from tests.support.interrupted import begin, both_ways, check_exact, every_batch, stop_after


def square(x: float) -> float:
    return x * x


def huber(x: float) -> float:
    return min(x * x, 2 * x)


class Weak:
    gain = 1.0

    def __call__(self, x: float) -> float:
        return x * self.gain


class Strong(Weak):
    gain = 3.0


class Model:
    def __init__(self, n: float) -> None:
        self.n = n
        self.act: Callable[[float], float] = math.sin

    def __call__(self, x: float) -> float:
        self.n += x
        return self.act(self.n)


class Saving:
    def state_dict(self) -> dict[str, float]:
        return {"n": 0.0}

    def load_state_dict(self, state: dict[str, float]) -> None:
        pass


def function(directory: Path, stop: int | None) -> Any:
    loss, seen = square, []
    with begin(directory) as run:
        for step in run.steps(6):
            if step == 2:
                loss = huber
            seen.append(loss(step))
            stop_after(stop, step)
    return seen, run.last_resume


def class_(directory: Path, stop: int | None) -> Any:
    kind, seen = Weak, []
    with begin(directory) as run:
        for step in run.steps(6):
            if step == 2:
                kind = Strong
            seen.append(kind()(step))
            stop_after(stop, step)
    return seen, run.last_resume


def one_of_two(directory: Path, stop: int | None) -> Any:
    a, b, seen = Model(1), Model(2), []
    current = a
    with begin(directory) as run:
        for step in run.steps(6):
            if step in (2, 4):
                current = b if current is a else a
            seen.append(current(step))
            stop_after(stop, step)
    return [*seen, a.n, b.n], run.last_resume


def attribute(directory: Path, stop: int | None) -> Any:
    model, seen = Model(1), []
    with begin(directory) as run:
        for step in run.steps(6):
            if step == 2:
                model.act = math.tanh
            seen.append(model(step))
            stop_after(stop, step)
    return seen, run.last_resume


def items(directory: Path, stop: int | None) -> Any:
    losses, models, seen = [square, huber], [Model(1), Model(2)], []
    by_name = {"loss": square}
    with begin(directory) as run:
        for step in run.steps(6):
            if step == 2:
                losses.reverse()
                models.reverse()
                by_name["loss"] = huber
            seen.append(losses[0](step) + models[0](step) + by_name["loss"](step))
            stop_after(stop, step)
    return seen, run.last_resume


class Stages:
    """Goes from one of its methods to another."""

    def __init__(self, start: float) -> None:
        self.total, self.now = start, self.warm

    def warm(self, x: float) -> float:
        self.total += 0.5 * x
        return self.total

    def full(self, x: float) -> float:
        self.total -= x
        return 2 * self.total


def methods(directory: Path, stop: int | None) -> Any:
    one, other, seen = Stages(1.0), Stages(2.0), []
    call, steps = one.warm, {"a": other.warm}
    with begin(directory) as run:
        for step in run.steps(6):
            if step == 1:
                one.now = one.warm  # the same one, of another look
            if step == 2:
                one.now, call, steps["a"] = one.full, other.full, one.full
            seen.append(one.now(step) + call(step) + steps["a"](step) + other.now(step))
            stop_after(stop, step)
    return seen, run.last_resume


def handed_over(directory: Path, stop: int | None) -> Any:
    models, seen = [Saving(), Saving()], []
    active = models[0]
    with begin(directory, {"a": models[0], "b": models[1]}) as run:
        for step in run.steps(6):
            if step == 2:
                active = models[1]
            seen.append(active is models[1])
            stop_after(stop, step)
    return seen, run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    "train",
    [function, class_, one_of_two, attribute, items, methods, handed_over],
    ids=lambda each: each.__name__,
)
def test_it_names_the_same_object_again(train: Any, at: int, tmp_path: Path):
    (expected, _), (seen, report) = both_ways(train, tmp_path, at)
    assert seen == expected
    assert report.verdict == "exact"


def test_an_object_that_no_name_leads_to_is_in_the_verdict(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def train(directory: Path, stop: int | None) -> Any:
        policy, loss = Weak(), square
        with begin(directory) as run:
            for step in run.steps(6):
                if step == 1:
                    policy, loss = Strong(), lambda x: x
                policy(loss(step))
                stop_after(stop, step)
        return run.last_resume

    _, report = both_ways(train, tmp_path, 2)
    assert report.verdict == "exact but for: loss, policy"
    assert "policy is a Strong made in the loop" in caplog.text
    assert "loss is another function now" in caplog.text


def test_what_is_made_anew_in_each_turn_is_not_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        def make() -> Callable[[float], float]:
            return lambda x: x

        step_of, model, kept = make(), Model(1), [make()]
        with begin(directory) as run:
            for step in run.steps(6):

                def helper(x: float) -> float:
                    return x + 1

                def closure() -> float:
                    return helper(step)  # noqa: B023

                closure()
                step_of(1)
                kept[0](1)
                step_of, kept[0], model = make(), make(), Model(model.n + 1)
                stop_after(stop, step)
        return model.n, run.last_resume

    expected, (n, report) = both_ways(train, tmp_path, 2)
    assert n == expected[0]
    assert report.verdict == "exact"


def test_a_new_object_beside_the_first_one_comes_back_beside_it(tmp_path: Path):
    """What it holds is not put into the first one, which is the previous one now."""

    def train(directory: Path, stop: int | None) -> Any:
        current = previous = Model(1)
        models = [Model(2), Model(3)]
        with begin(directory) as run:
            for step in run.steps(6):
                if step == 1:
                    current = Model(5)
                    models.append(Model(previous.n + models.pop(0).n))
                current(1)
                stop_after(stop, step)
        assert previous is not current
        return (current.n, previous.n, [each.n for each in models]), run.last_resume

    check_exact(train, tmp_path, 2)


def test_a_rollback_takes_it_back(tmp_path: Path):
    loss, seen = square, []
    weights = np.zeros(1)
    with begin(tmp_path, {"weights": weights}, checkpointing=every_batch(on_divergence="rollback")) as run:
        for step in run.steps(5):
            seen.append(loss.__name__)
            if step == 3 and not run.rollbacks:
                loss = huber
                weights[0] = np.nan
            run.log(loss=weights.sum())
    assert run.rollbacks == 1
    assert seen == ["square"] * 5


def test_a_name_in_a_file_leads_to_nothing_else(monkeypatch: pytest.MonkeyPatch):
    assert name_of(math.tanh, math.sin) == "math:tanh"
    assert name_of(huber, square) == f"{__name__}:huber"
    assert name_of(Model.__call__, square) == f"{__name__}:Model.__call__"
    assert name_of(np.tanh.__class__, square) is None
    theirs = ModuleType("theirs")
    theirs.__file__ = __file__
    monkeypatch.setitem(sys.modules, "theirs", theirs)
    monkeypatch.setattr(theirs, "system", __import__("os").system, raising=False)
    monkeypatch.setattr(theirs, "os", __import__("os"), raising=False)
    for name in (
        "os:system",
        "theirs:system",
        "theirs:os.system",
        "builtins:eval",
        "shutil:rmtree",
        "nowhere:f",
    ):
        assert find(name, square) is None
    assert find("shutil:rmtree", __import__("shutil").copy) is None
    assert find("numpy:save", math.sin) is None
