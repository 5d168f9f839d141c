"""What a class is called and where it is defined is for people: no part of a digest, of sameness, or of a restore."""

from __future__ import annotations

import enum
import os
import random
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run
from holdfast.compare import unlike
from holdfast.state import capture, digest, restore

KINDS = ("dataclass", "enum", "module", "optimizer", "parts", "scheduler", "stateful")


def defined_in(module: str, name: str, kind: str, value: int = 1) -> Any:
    """An object of a new class of this name, as if it had been defined in this module."""
    torch.manual_seed(value)
    weights = {"w": np.arange(4.0) * value}

    class Stateful:
        def __init__(self) -> None:
            self.w = weights

        def state_dict(self):
            return self.w

        def load_state_dict(self, saved):
            self.w = saved

    class Parts:
        def state_parts(self):
            return weights

        def adopt_parts(self, parts):
            weights.update(parts)

    @dataclass
    class Data:
        w: Any

    def named(parent: type) -> Any:
        return type(name, (parent,), {"__module__": module})

    match kind:
        case "stateful":
            return named(Stateful)()
        case "parts":
            return named(Parts)()
        case "dataclass":
            return dataclass(named(Data))(weights)
        case "enum":
            return enum.Enum(name, {"ONE": value}, module=module).ONE
        case "module":
            return named(torch.nn.Linear)(2, 2)
        case "optimizer":
            return named(torch.optim.SGD)([torch.nn.Parameter(torch.ones(2) * value)], lr=0.1 * value)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1 * value)
    return named(torch.optim.lr_scheduler.StepLR)(optimizer, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_was_moved_or_renamed_has_the_same_digest(kind):
    one, moved, renamed, other = (
        digest(capture({"it": defined_in(*where)}))
        for where in (
            ("__main__", "Net", kind),
            ("package.train", "Net", kind),
            ("package.train", "Network", kind),
            ("__main__", "Net", kind, 2),
        )
    )
    assert one == moved == renamed
    assert one != other


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_was_moved_takes_its_state_back(kind):
    saved, live = (defined_in(*where) for where in (("__main__", "Net", kind, 2), ("train", "Net", kind, 2)))
    if kind != "enum":  # its members are what they are
        live = defined_in("train", "Net", kind)
    back = restore(capture({"it": saved}), {"it": live}).value
    assert digest(capture(back)) == digest(capture({"it": saved}))


def test_what_differs_in_kind_as_data_has_another_digest():
    values = [
        [1, 2], (1, 2), {1, 2}, frozenset({1, 2}), deque([1, 2]), deque([1, 2], 5), np.array([1, 2]), np.array([1, 2], np.int32),
        np.array([[1, 2]]), {"a": 1}, OrderedDict(a=1), Counter(a=1), defaultdict(int, a=1), defaultdict(list, a=1), {"a": 1.0}, {"a": True},
        {"a": None}, 1, 1.0, True, "1", b"1", bytearray(b"1"), range(1, 2), slice(1, 2), None, 1 + 0j, np.float32(1), np.float64(1),
        np.random.default_rng(0), np.random.default_rng(0).bit_generator, np.random.RandomState(0), np.random.MT19937(0), random.Random(0),
        torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).state_dict(), torch.Generator().manual_seed(0),
    ]  # fmt: skip
    for one, other in combinations(values, 2):
        assert digest(capture(one)) != digest(capture(other)), (one, other)


def test_two_runs_whose_classes_are_elsewhere_are_not_unlike(tmp_path):
    def run(where: str) -> tuple[str, holdfast.bundle.Listed]:
        policy = Checkpointing(mode="disk", save_on="phase_end")
        with Run(
            tmp_path / where, {"model": defined_in(where, "Net", "stateful")}, checkpointing=policy
        ) as run:
            for _ in run.epochs(1):
                pass
        return run.state_digest(), holdfast.scan(tmp_path / where)[-1]

    (one, a), (other, b) = run("__main__"), run("package.train")
    assert one == other
    assert unlike(a, b) == []
    assert {change.path for change in holdfast.diff(a, b).values} <= {"run/id"}


SCRIPT = """
import sys
from holdfast import Checkpointing, Run

class Net:
    w = 1.5
    def state_dict(self): return {"w": self.w}
    def load_state_dict(self, saved): self.w = saved["w"]

with Run(sys.argv[1], {"net": Net()}, checkpointing=Checkpointing(mode="disk")) as run:
    for _ in run.epochs(1):
        pass
    print(run.state_digest(), run.last_resume and run.last_resume.verdict)
"""


@pytest.mark.medium
def test_a_script_and_the_same_as_a_module_end_alike_and_resume_each_other(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    starts = (["train.py"], ["-m", "train"], ["-c", "import train"])
    places = os.pathsep.join([str(tmp_path), *sys.path])

    def start(how: list[str], directory: str) -> list[str]:
        command = [sys.executable, *how, directory]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": places}, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    ends = [start(how, f"runs_{index}") for index, how in enumerate(starts)]
    assert ends[0] == ends[1] == ends[2]
    assert start(starts[2], "runs_0") == [ends[0][0], "exact"]


def test_estimators_of_an_own_class_that_was_moved_are_the_same_and_take_their_state_back():
    base, pipeline = pytest.importorskip("sklearn.base"), pytest.importorskip("sklearn.pipeline")

    def made(module: str, name: str = "Scaler") -> Any:
        def fit(self, x, y=None):
            self.mean_ = x.mean(0)
            return self

        parents = (base.TransformerMixin, base.BaseEstimator)
        members = {"__module__": module, "fit": fit, "transform": lambda self, x: x - self.mean_}
        return pipeline.make_pipeline(type(name, parents, members)())

    x = np.arange(6.0).reshape(3, 2)
    saved = made("__main__").fit(x)
    live = made("package.train")
    restore(capture({"it": saved}), {"it": live})
    np.testing.assert_array_equal(live[0].mean_, saved[0].mean_)
    assert digest(capture({"it": saved})) == digest(capture({"it": live}))


def test_estimators_of_two_classes_of_scikit_learn_are_two_things():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    found = [preprocessing.MaxAbsScaler(), preprocessing.LabelEncoder(), preprocessing.MinMaxScaler()]
    assert len({digest(capture(each)) for each in found}) == 3
