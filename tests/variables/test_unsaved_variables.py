"""What cannot be saved is named; what is no state of the run is left alone."""

from __future__ import annotations

import itertools
import logging
import random
import shutil
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.errors import UsageError
from holdfast.variables import _guard, _marks, _watch
from tests.support.interrupted import Interrupted, begin, stop_after


def interrupted_and_resumed(train: Any) -> holdfast.ResumeReport:
    with pytest.raises(Interrupted):
        train(2)
    report = train(None).last_resume
    assert report is not None
    return report


def numbers() -> Iterator[int]:
    yield from range(100)


@pytest.mark.parametrize(
    "make",
    [
        numbers,
        lambda: itertools.cycle([1, 2]),
        lambda: iter([*range(50)]),
        lambda: itertools.count(),
        lambda: map(abs, range(50)),
    ],
    ids=["generator", "cycle", "list_iterator", "count", "map"],
)
def test_an_iterator_that_moves_is_named_once_and_in_the_verdict(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def train(stop: int | None) -> Any:
        data_iter, quiet = make(), 0
        with begin(tmp_path) as run:
            for step in run.steps(6):
                next(data_iter)
                quiet += 1
                stop_after(stop, step)
        return run

    with caplog.at_level(logging.WARNING, "holdfast"):
        report = interrupted_and_resumed(train)
    assert report.verdict == "exact but for: data_iter"
    assert report.unsaved == ("data_iter",)
    assert report.differences == ()
    named = [each for each in caplog.messages if each.startswith("not saved: data_iter")]
    assert len(named) == 2  # once by each process
    assert "run.batches()" in named[0]


def test_an_iterator_that_stays_where_it_is_is_not_named(tmp_path: Path):
    def train(stop: int | None) -> Any:
        later = numbers()
        with begin(tmp_path) as run:
            for step in run.steps(4):
                stop_after(stop, step)
        next(later)
        return run

    assert interrupted_and_resumed(train).verdict == "exact"


class Opaque:
    """Has no protocol, and attributes that cannot be saved."""

    def __init__(self) -> None:
        self.lines: list[object] = []


def test_an_attribute_that_cannot_be_saved_is_named(tmp_path: Path):
    def train(stop: int | None) -> Any:
        env = Opaque()
        with begin(tmp_path) as run:
            for step in run.steps(4):
                env.lines.append(object())
                stop_after(stop, step)
        return run

    assert interrupted_and_resumed(train).unsaved == ("env.lines",)


@pytest.mark.parametrize("size", [8, 3000])
def test_objects_in_an_array_are_named(size: int, tmp_path: Path):
    def train(stop: int | None) -> Any:
        memory = np.zeros(size, dtype=object)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                memory[-1 - step] = types.SimpleNamespace(reward=step)
                stop_after(stop, step)
        return run

    assert interrupted_and_resumed(train).unsaved == ("memory",)


class Example:
    def __init__(self, number: int) -> None:
        self.number, self.uses = number, 0


@pytest.mark.medium
@pytest.mark.parametrize(("size", "unsaved"), [(9, ()), (1009, ("examples",))])
def test_the_order_of_objects_comes_back_or_is_named(size: int, unsaved: tuple[str, ...], tmp_path: Path):
    orders: list[list[int]] = []

    def train(stop: int | None) -> Any:
        examples, order = [Example(number) for number in range(size)], random.Random(1)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                order.shuffle(examples)
                for place, each in enumerate(examples):
                    each.uses += place
                orders.append([each.number * 10_000 + each.uses for each in examples])
                run.ignore("orders")
                stop_after(stop, step)
        return run

    assert interrupted_and_resumed(train).unsaved == unsaved
    if not unsaved:
        resumed = orders[-1]
        shutil.rmtree(tmp_path)
        train(None)
        assert resumed == orders[-1]


def test_objects_that_are_made_anew_in_each_turn_are_saved_where_they_stand(tmp_path: Path):
    def train(stop: int | None) -> Any:
        meters = [Example(number) for number in range(3)]
        with begin(tmp_path) as run:
            for step in run.steps(6):
                meters = [Example(each.number + step) for each in meters]
                stop_after(stop, step)
        return run, [each.number for each in meters]

    with pytest.raises(Interrupted):
        train(2)
    run, numbers = train(None)
    assert (numbers, run.last_resume.verdict) == ([15, 16, 17], "exact")


def test_data_in_an_array_of_objects_come_back(tmp_path: Path):
    def train(stop: int | None) -> Any:
        memory = np.full((2, 3), None)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                memory.flat[step] = (step, np.full(2, step))
                stop_after(stop, step)
        return run, memory.tolist()

    with pytest.raises(Interrupted):
        train(2)
    run, memory = train(None)
    assert [first for row in memory for first, _ in row] == [*range(6)]
    assert run.last_resume.verdict == "exact"


def test_time_stamps_are_no_state(tmp_path: Path):
    def train() -> None:
        t0, started, tokens = time.time(), time.perf_counter(), 0
        with begin(tmp_path) as run:
            for _ in run.steps(3):
                tokens += int(time.time() - t0 + time.perf_counter() - started >= 0)
                t0, started = time.time(), time.perf_counter()

    train()
    [saved] = holdfast.load(tmp_path / "train_epoch0_batch2")["variables"].values()
    assert saved == {"tokens": 3}


def test_what_is_ignored_is_neither_saved_nor_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    timing_a, moving, count = 0, numbers(), 0
    with caplog.at_level(logging.WARNING, "holdfast"), begin(tmp_path) as run:
        run.ignore("timing_*", "moving")
        for _ in run.steps(3):
            timing_a += 1
            count += next(moving)
    [saved] = holdfast.load(tmp_path / "train_epoch0_batch2")["variables"].values()
    assert saved == {"count": 3}
    assert caplog.messages == []


def test_watching_saves_nothing_and_names_all(tmp_path: Path):
    def train(stop: int | None) -> Any:
        total = 0
        with begin(tmp_path, variables="watch") as run:
            for step in run.steps(5):
                total += 1
                stop_after(stop, step)
        return run, total

    with pytest.raises(Interrupted):
        train(2)
    run, total = train(None)
    assert total == 3  # nothing was put back
    assert run.last_resume.verdict == "exact but for: total"
    assert "variables" not in holdfast.load(tmp_path / "train_epoch0_batch4")


def test_off_does_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    total, moving = 0, numbers()
    with caplog.at_level(logging.WARNING, "holdfast"), begin(tmp_path, variables="off") as run:
        for _ in run.steps(3):
            total += next(moving)
    assert "variables" not in holdfast.load(tmp_path / "train_epoch0_batch2")
    assert caplog.messages == []


@pytest.mark.parametrize("mode", ["all", None, True])
def test_another_mode_is_refused(mode: Any, tmp_path: Path):
    with pytest.raises(UsageError, match="variables is"):
        begin(tmp_path / "run", variables=mode)
    assert not (tmp_path / "run").exists()


def test_an_object_cannot_be_called_variables(tmp_path: Path):
    with pytest.raises(UsageError, match="'variables'"):
        begin(tmp_path / "run", {"variables": [1]})


def test_what_is_too_large_is_compared_at_samples_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_marks, "_SHARE", 0.0)
    unchanged, filled = np.zeros(300_000), np.zeros(300_000)
    with caplog.at_level(logging.INFO, "holdfast"), begin(tmp_path) as run:
        for step in run.steps(8):
            if step > 5:
                filled[:] = step
            run.log(value=unchanged[step] + filled[step])
    [saved] = holdfast.load(tmp_path / "train_epoch0_batch7")["variables"].values()
    assert saved.keys() == {"filled"}
    assert any("unchanged is too large" in each for each in caplog.messages)


def test_what_cannot_be_put_back_makes_the_resume_inexact(tmp_path: Path):
    def first() -> None:
        total = 0
        with begin(tmp_path) as run:
            for step in run.steps(5):
                total += 1
                stop_after(2, step)

    def second() -> Any:
        with begin(tmp_path) as run:
            for _ in run.steps(5):
                pass
        return run.last_resume

    with pytest.raises(Interrupted):
        first()
    verdict = second().verdict
    assert verdict.startswith("not exact: the variable test_what_cannot")
    assert verdict.endswith("total could not be put back: the function that it is in is not running now")


class Broken:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("broken")


def test_a_failure_of_the_watcher_is_said_and_breaks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def train(stop: int | None, env: Any, total: int = 0) -> holdfast.ResumeReport | None:
        with begin(tmp_path) as run:
            for step in run.steps(5):
                total += step
                stop_after(stop, step)
        del env
        return run.last_resume

    monkeypatch.setattr(_guard, "raises", False)
    with caplog.at_level(logging.ERROR, "holdfast"), pytest.raises(Interrupted):
        train(2, Broken())
    assert any("training continues" in each for each in caplog.messages)
    report = train(None, None)
    assert report is not None
    assert report.verdict == "exact but for: the script's variables"


@pytest.mark.parametrize("broken", ["put_back", "Capture"])
def test_what_a_failure_of_the_watcher_leaves_out_is_in_the_verdict(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def train(stop: int | None) -> holdfast.ResumeReport | None:
        total = 0
        with begin(tmp_path) as run:
            for step in run.steps(5):
                total += step
                stop_after(stop, step)
        return run.last_resume

    def fail(*given: Any, **named: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(_guard, "raises", False)
    monkeypatch.setattr(_watch, broken, fail)
    with pytest.raises(Interrupted):
        train(2)
    report = train(None)
    assert report is not None
    assert report.verdict != "exact"
    assert "a bug" in report.verdict or "the script's variables" in report.verdict


def test_variables_of_a_checkpoint_that_are_not_put_back_are_in_the_verdict(tmp_path: Path):
    def train(stop: int | None, mode: Any) -> holdfast.ResumeReport | None:
        total = 0
        with begin(tmp_path, variables=mode) as run:
            for step in run.steps(5):
                total += step
                stop_after(stop, step)
        return run.last_resume

    with pytest.raises(Interrupted):
        train(2, "save")
    report = train(None, "watch")
    assert report is not None
    assert report.verdict == "exact but for: total"


def test_a_module_without_a_file_is_no_users(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Such as torch.ops, which says that its file is `_ops.py`."""
    module = types.ModuleType("made_up")
    module.__file__, module.names = "_made_up.py", []  # type: ignore[attr-defined]
    sys.modules["made_up"] = module
    try:
        with begin(tmp_path) as run:
            for step in run.steps(3):
                module.names.append(step)  # type: ignore[attr-defined]
    finally:
        del sys.modules["made_up"]
    assert "made_up" not in caplog.text
