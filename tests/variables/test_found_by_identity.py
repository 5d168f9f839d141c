"""What would come back as another object, by which nothing is found, or of another class, is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from tests.support.interrupted import Interrupted, begin, both_ways, stop_after


def verdict(train: Any) -> str:
    with pytest.raises(Interrupted):
        train(2)
    report = train(None).last_resume
    assert report is not None
    return report.verdict


def test_a_dict_by_tensors_is_named(tmp_path: Path):
    torch = pytest.importorskip("torch")

    def train(stop: int | None) -> Any:
        weight = torch.ones(2)
        momentum = {weight: torch.zeros(2)}
        with begin(tmp_path, {"weight": weight}) as run:
            for step in run.steps(6):
                momentum[weight] += weight
                stop_after(stop, step)
        return run

    assert verdict(train) == "exact but for: momentum"


def test_a_dict_by_objects_that_are_equal_to_themselves_alone_is_named(tmp_path: Path):
    @dataclass(eq=False)
    class Player:
        name: str

    def train(stop: int | None) -> Any:
        players = [Player("a"), Player("b")]
        ratings = dict.fromkeys(players, 0.0)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                ratings[players[step % 2]] += 1
                stop_after(stop, step)
        return run

    assert verdict(train) == "exact but for: ratings"


def test_a_number_of_an_own_class_is_named(tmp_path: Path):
    class Rate(float):
        def halved(self) -> Rate:
            return Rate(self / 2)

    def train(stop: int | None) -> Any:
        rate = Rate(1.0)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                rate = rate.halved()
                stop_after(stop, step)
        return run

    assert verdict(train) == "exact but for: rate"


def test_what_is_set_on_a_parameter_is_not_lost_in_silence(tmp_path: Path):
    torch = pytest.importorskip("torch")

    def train(stop: int | None, *, before: bool) -> Any:
        model = torch.nn.Linear(2, 1)
        for each in model.parameters() if before else ():
            each.velocity = torch.zeros_like(each)
        with begin(tmp_path / str(before), {"model": model}) as run:
            for step in run.steps(6):
                for each in model.parameters():
                    each.velocity = getattr(each, "velocity", torch.zeros_like(each)) + 1
                stop_after(stop, step)
        assert not before or float(model.bias.velocity) == 6
        return run

    assert verdict(lambda stop: train(stop, before=True)) == "exact"
    assert verdict(lambda stop: train(stop, before=False)).startswith("not exact: ")


def test_variables_that_are_looked_up_by_text_come_back(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> tuple[Any, holdfast.ResumeReport | None]:
        weights = np.zeros(1)
        with begin(directory, {"weights": weights}) as run:
            for step in run.steps(8):
                mean = 0.5 * mean + step if "mean" in locals() else 1.0  # noqa: F821
                weights += mean
                stop_after(stop, step)
        return weights.tolist(), run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 3)
    assert found == expected
    assert report is not None
    assert report.verdict == "exact"
