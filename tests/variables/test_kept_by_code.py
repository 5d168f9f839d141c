"""What functions, methods and classes keep from call to call is a part of the run."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import holdfast
from tests.support.interrupted import begin, both_ways, stop_after

Call = Callable[[], float]


def counter() -> Call:
    n = 0

    def count() -> float:
        nonlocal n
        n += 1
        return float(n)

    return count


def decorated() -> Call:
    def numbered(function: Call) -> Call:
        calls = [0]

        @functools.wraps(function)
        def wrapper() -> float:
            calls[0] += 1
            return function() * calls[0]

        return wrapper

    return functools.lru_cache(maxsize=0)(numbered(lambda: 1.0))


def with_an_attribute() -> Call:
    def count() -> float:
        count.n += 1  # type: ignore[attr-defined]
        return float(count.n)  # type: ignore[attr-defined]

    count.n = 0  # type: ignore[attr-defined]
    return count


def with_defaults() -> Call:
    def count(calls: list[int] = [0], *, more: dict[str, Any] = {"n": np.zeros(2)}) -> float:  # noqa: B006, B008
        calls[0] += 1
        more["n"] += 0.5
        return float(calls[0] + more["n"].sum())

    return count


def of_a_class() -> Call:
    class Base:
        total = 0
        registry: ClassVar[dict[int, float]] = {}

    class Ticker(Base):
        @classmethod
        def tick(cls) -> float:
            Base.total += 1
            cls.registry[Base.total % 3] = cls.registry.get(Base.total % 3, 0.0) + 1
            return Base.total + sum(cls.registry.values())

    return Ticker.tick


class Walker:
    def __init__(self) -> None:
        self.n = 0.0

    def step(self) -> float:
        self.n += 1
        return self.n


def in_a_list() -> Call:
    steps = [Walker().step, counter()]
    return lambda: sum(step() for step in steps)


@pytest.mark.parametrize(
    "make",
    [
        counter,
        decorated,
        with_an_attribute,
        with_defaults,
        of_a_class,
        lambda: Walker().step,
        in_a_list,
        lambda: random.Random(3).random,
        lambda: functools.partial(random.Random(3).gauss, 0, 1),
        lambda: functools.partial(lambda d: d.append(len(d)) or float(d[-1]), []),
    ],
    ids=[
        "closure",
        "decorated",
        "attribute",
        "defaults",
        "class",
        "method",
        "list",
        "generator",
        "partial",
        "argument",
    ],
)
def test_it_continues(make: Callable[[], Call], tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        call, seen = make(), []
        with begin(directory) as run:
            for step in run.steps(6):
                seen.append(call())
                stop_after(stop, step)
        return seen, run.last_resume and run.last_resume.verdict

    expected, (seen, verdict) = both_ways(train, tmp_path, 2)
    assert seen == expected[0]
    assert verdict == "exact"


def test_what_a_function_of_the_loop_closes_over_is_saved_once(tmp_path: Path):
    best, calls = 0.0, [0]

    def improve() -> None:
        nonlocal best
        best += 1
        calls[0] += 1

    with begin(tmp_path) as run:
        for _ in run.steps(2):
            improve()
    [saved] = holdfast.load(tmp_path / "train_epoch0_batch1")["variables"].values()
    assert saved == {"best": 2.0, "calls": [2]}


def test_functions_of_which_nothing_changes_name_and_save_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    steps = [counter(), Walker().step, functools.partial(max, 1), random.random, np.random.rand, Walker]
    with begin(tmp_path) as run:
        for _ in run.steps(2):
            random.random()
            np.random.rand()
    assert len(steps) == 6
    assert "variables" not in holdfast.load(tmp_path / "train_epoch0_batch1")
    assert not [each for each in caplog.messages if each.startswith("not saved")]
