"""A config that was handed over and that the script has changed since: named, and left as the script has it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import SimpleNamespace

import attrs
import numpy as np
import pydantic
import pytest

from holdfast import Checkpointing, Run


class Color(enum.Enum):
    A = 1
    B = 2


@dataclass
class Config:
    lr: float = 0.1
    opt: Color = Color.A


@dataclass(frozen=True)
class Frozen:
    lr: float = 0.1


@attrs.define
class Attrs:
    lr: float = 0.1


class Model(pydantic.BaseModel):
    lr: float = 0.1
    sizes: list[int] = [1, 2]


class Attributed(dict):
    """As EasyDict and its kin."""

    __getattr__ = dict.__getitem__


class Answering(dict):
    __getattr__ = dict.get


CONFIGS = {
    "attrs": (Attrs, lambda: Attrs(0.5)),
    "pydantic": (Model, lambda: Model(sizes=[1, 3])),
    "a dict that answers to every name": (lambda: Answering(lr=0.1), lambda: Answering(lr=0.5)),
    "subclass of dict": (lambda: Attributed(lr=0.1), lambda: Attributed(lr=0.5)),
    "by member": (lambda: {Color.A: 0.1, Color.B: 0.2}, lambda: {Color.A: 0.1, Color.B: 0.5}),
    "dataclass": (Config, lambda: Config(0.5)),
    "frozen": (Frozen, lambda: Frozen(0.5)),
    "member": (Config, lambda: Config(0.1, Color.B)),
    "dict": (lambda: {"lr": 0.1}, lambda: {"lr": 0.5}),
    "nested": (lambda: {"model": {"sizes": [1, 2]}}, lambda: {"model": {"sizes": [1, 3]}}),
    "another name": (lambda: {"lr": 0.1}, lambda: {"lr": 0.1, "wd": 0.0}),
    "namespace": (lambda: SimpleNamespace(lr=0.1), lambda: SimpleNamespace(lr=0.5)),
    "number": (lambda: 0.1, lambda: 0.5),
}


def train(directory, config, epochs):
    weight = np.zeros(2)
    with Run(
        directory, {"config": config, "weight": weight}, checkpointing=Checkpointing(save_on="epoch_end")
    ) as run:
        for _ in run.epochs(epochs):
            weight += 1
    return run


@pytest.mark.parametrize("what", CONFIGS)
def test_a_change_is_named_and_the_scripts_holds(what, tmp_path):
    make, change = CONFIGS[what]
    train(tmp_path, make(), 1)
    config = change()
    run = train(tmp_path, config, 2)
    assert run.last_resume is not None
    assert run.last_resume.verdict.startswith("not exact: config")
    assert config == change() == run["config"]
    again = train(tmp_path, change(), 3)
    assert again.last_resume is not None
    said = [each.removeprefix("at an earlier resume, ") for each in again.last_resume.differences]
    assert said == [*run.last_resume.differences], "it is the run's from now on, and nothing new"
    assert again.last_resume.verdict.startswith("not exact: at an earlier resume, config")


@pytest.mark.parametrize("what", CONFIGS)
def test_what_did_not_change_is_not_spoken_of(what, tmp_path):
    make, _ = CONFIGS[what]
    train(tmp_path, make(), 1)
    run = train(tmp_path, make(), 2)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert run["config"] == make()


def test_what_training_changes_is_restored(tmp_path):
    def count(epochs, crash_at=None):
        seen = {"batches": 0, "last": None}
        with Run(tmp_path, {"seen": seen}, checkpointing=Checkpointing(save_on="batch_end")) as run:
            for epoch in run.epochs(epochs):
                for batch in run.batches([1, 2, 3]):
                    seen.update(batches=seen["batches"] + 1, last=batch)
                    if epoch == crash_at:
                        raise RuntimeError("a cable was pulled")
        return seen, run.last_resume

    with pytest.raises(RuntimeError, match="a cable"):
        count(3, crash_at=1)
    seen, resumed = count(3)
    assert seen == {"batches": 9, "last": 3}
    assert resumed is not None
    assert resumed.verdict == "exact"
