"""A layer of Keras that is frozen in mid-run is named; that of a model which is only a variable comes back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import begin, both_ways, stop_after

pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")  # before Keras is imported
keras = pytest.importorskip("keras")


def test_it_is_named_or_comes_back(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="first")], name="net")
        other = keras.layers.Dense(1, name="other")
        other.build((None, 1))
        seen = []
        with begin(directory, {"models": {"a": model}}) as run:
            for step in run.steps(6):
                seen.append(other.trainable)
                if step == 1:
                    model.layers[0].trainable = other.trainable = False
                stop_after(stop, step)
        return seen, run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 3)
    assert found == expected
    assert report.verdict == "exact but for: models.a.first.trainable"
