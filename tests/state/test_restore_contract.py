"""Restore names what does not fit and changes nothing; capture refuses by path what it cannot save."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.errors import (
    PieceDamagedError,
    RestoreIncompleteError,
    StateMismatchError,
    UnsupportedStateError,
)
from holdfast.records import Bytes, Leaf, Node
from holdfast.state import MemorySnapshot, capture, digest, find, rebuild, register_adapter, restore


def held(width: int = 4, momentum: float = 0.9, seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "x": np.full(3, seed),
        "epoch": seed,
    }


def wrong_class() -> dict[str, Any]:
    live = held(seed=1)
    live["optimizer"] = torch.optim.Adam(live["model"].parameters())
    return live


def wrong_scheduler() -> dict[str, Any]:
    live = held(seed=1)
    live["scheduler"] = torch.optim.lr_scheduler.ExponentialLR(live["optimizer"], 0.5)
    return live


MISFITS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a missing entry": (lambda: {**held(seed=1), "extra": 1}, "extra: is not in the saved state"),
    "another shape": (
        lambda: held(width=5),
        r"model/0.weight: an array float32 \[4, 3\] was saved, the live array",
    ),
    "another dtype": (lambda: {**held(seed=1), "x": np.zeros(3, "f4")}, "x: an array int64"),
    "another class of optimizer": (
        wrong_class,
        "optimizer: a torch.optim.sgd.SGD was saved, the live object is a",
    ),
    "another class of scheduler": (wrong_scheduler, "scheduler: a torch.optim.lr_scheduler.StepLR was saved"),
    "a missing layer": (
        lambda: {**held(seed=1), "model": nn.Linear(3, 4)},
        "model/0.weight: was saved, and the live module has no such entry",
    ),
    "no object": (
        lambda: {**held(seed=1), "model": None},
        "model: a torch.nn.modules.container.Sequential was saved",
    ),
    "no array": (lambda: {**held(seed=1), "epoch": np.zeros(2)}, "epoch: an int was saved, the live value"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_named_and_changes_nothing(case):
    make, message = MISFITS[case]
    live = make()
    before = digest(capture(live))
    with pytest.raises(StateMismatchError, match=message):
        restore(capture(held()), live)
    assert digest(capture(live)) == before


def test_every_problem_is_named_at_once():
    live = {**held(width=5), "extra": 1}
    with pytest.raises(StateMismatchError) as caught:
        restore(capture(held()), live)
    told = {problem.partition(":")[0] for problem in caught.value.problems}
    assert {"model/0.weight", "model/0.bias", "model/1.weight", "extra", "optimizer"} <= told


def test_strict_false_restores_what_fits_and_reports_the_rest():
    saved = {"x": np.ones(3), "y": np.ones(2), "d": {"a": np.ones(1), "gone": 1}}
    live = {"x": np.zeros(3), "y": np.zeros(5), "d": {"a": np.zeros(1), "new": np.zeros(1)}}
    restored = restore(capture(saved), live, strict=False)
    assert live["x"].tolist() == [1, 1, 1]
    assert live["y"].tolist() == [0] * 5
    assert live["d"]["a"].tolist() == [1]
    assert sorted(sentence.partition(":")[0] for sentence in restored.skipped) == ["d/gone", "d/new", "y"]


def test_a_part_of_a_state_can_be_restored():
    snapshot, model = capture(held()), held(seed=1)["model"]
    restore(snapshot, {"model": model})
    assert digest(capture(model)) == digest(snapshot, find(snapshot.tree, "model"))
    other = held(seed=2)["model"]
    restore(snapshot, other, tree=snapshot.tree["model"])
    assert digest(capture(other)) == digest(capture(model))


def test_unknown_parameters_of_an_optimizer_are_named():
    saved, live = held(), held(seed=1)
    live["optimizer"] = torch.optim.SGD(live["model"][0].parameters(), lr=0.1, momentum=0.9)
    live["scheduler"] = torch.optim.lr_scheduler.StepLR(live["optimizer"], 2)
    with pytest.raises(
        StateMismatchError, match=r"'model/1.weight': the live optimizer has no such parameter"
    ):
        restore(capture(saved), live)


class Settable:
    """Its loader takes whatever it gets."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@pytest.mark.parametrize(
    ("saved", "told"),
    [({"a": 1, "load_state_dict": 2}, "load_state_dict"), ({"a": "text"}, "a"), ({}, "a"), ({"a": [1]}, "a")],
)
def test_a_loader_gets_exactly_the_keys_and_types_of_the_live_object(saved, told):
    live = Settable(a=1)
    with pytest.raises(StateMismatchError) as caught:
        restore(capture({"s": Settable(**saved)}), {"s": live})
    assert caught.value.problems[0].startswith(f"s/{told}:")
    assert vars(live) == {"a": 1}


def test_a_loader_may_get_a_number_for_a_number_and_none_for_anything():
    live = Settable(a=1, b=None, c=0.5)
    restore(capture({"s": Settable(a=0.5, b=3, c=None)}), {"s": live})
    assert vars(live) == {"a": 0.5, "b": 3, "c": None}


def test_a_restore_reads_straight_into_the_live_arrays():
    saved = {"x": np.ones(1_000_000), "t": torch.ones(1_000_000), "f": torch.ones(1000, 1000).T}
    live = {"x": np.zeros(1_000_000), "t": torch.zeros(1_000_000), "f": torch.zeros(1000, 1000).T}
    snapshot = capture(saved)
    tracemalloc.start()
    try:
        restore(snapshot, live)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000
    assert live["f"].all()


class Damaged:
    """A snapshot whose leaf at `path` is damaged, found by a check only if `checked`."""

    def __init__(self, snapshot: MemorySnapshot, path: str, checked: bool) -> None:
        self._snapshot, self._path, self._checked = snapshot, path, checked

    @property
    def tree(self) -> Node:
        return self._snapshot.tree

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        if leaf.path == self._path:
            raise PieceDamagedError("memory", leaf.path, "none", "0" * 64, "1" * 64)
        self._snapshot.read_into(leaf, out)

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> None:
        for leaf, out in wanted:
            self.read_into(leaf, out)

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        out = np.empty(leaf.size_bytes, np.uint8)
        self.read_into(leaf, out)
        yield 0, out

    def check(self, leaves: Sequence[Leaf]) -> None:
        if self._checked and any(leaf.path == self._path for leaf in leaves):
            raise PieceDamagedError("memory", self._path, "none", "0" * 64, "1" * 64)


def test_damage_found_first_changes_nothing():
    live = held(seed=1)
    before = digest(capture(live))
    with pytest.raises(PieceDamagedError, match=r"model/1.bias"):
        restore(Damaged(capture(held()), "model/1.bias", checked=True), live)
    assert digest(capture(live)) == before


def test_damage_outside_of_what_is_needed_does_not_matter():
    restore(Damaged(capture(held()), "model/1.bias", checked=True), {"x": np.zeros(3, int)})


def test_damage_found_half_way_names_the_leaf():
    with pytest.raises(RestoreIncompleteError) as caught:
        restore(Damaged(capture(held()), "model/1.bias", checked=False), held(seed=1), verify="streaming")
    assert caught.value.leaf == "model/1.bias"
    assert isinstance(caught.value.__cause__, PieceDamagedError)


def cycle() -> list[Any]:
    ring: list[Any] = []
    ring.append({"again": ring})
    return ring


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    return value


class Text(str):
    """An unknown kind of string."""


REFUSED: dict[str, tuple[Any, str]] = {
    "a lambda": (lambda: 1, "at/0"),
    "an open file": (io.StringIO(), "at/0"),
    "an array of objects": (np.array([object()]), "at/0/items/0"),
    "a cycle": (cycle(), "at/0/0/again"),
    "a key that is not plain": ({object(): 1}, "at/0/keys/0"),
    "a subclass of str": (Text("a"), "at/0"),
    "a subclass of dict that holds a class": (type("D", (dict,), {})(a=int), "at/0/items/a"),
    "a class": (int, "at/0"),
    "a generator": ((n for n in ()), "at/0"),
    "a module": (sys, "at/0"),
    "a set of objects": ({object()}, "at/0/0"),
    "a scheduler that holds a function": (Settable(fn=print), "at/0/fn"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_saved_is_refused_by_path_and_type(case):
    value, path = REFUSED[case]
    with pytest.raises(UnsupportedStateError) as caught:
        capture({"fine": 1, "at": [value]})
    assert caught.value.path == path


def test_what_is_nested_too_deep_is_refused():
    with pytest.raises(UnsupportedStateError, match="nested deeper than"):
        capture(deep())


def test_the_path_of_a_capture_begins_every_leaf():
    assert capture({"x": np.zeros(1)}, path="run").tree["x"].path == "run/x"


@dataclass
class Row:
    """A record of some history."""

    loss: float


def test_a_saved_object_without_a_live_one_is_a_problem_and_never_a_silent_dict():
    with pytest.raises(
        StateMismatchError, match=r"rows: a .*Row was saved, and it can only be restored into a live one"
    ):
        restore(capture({"rows": [Row(1.0)]}), {"rows": []})
    assert rebuild(capture({"rows": [Row(1.0)]})) == {"rows": [{"loss": 1.0}]}


class Thermostat:
    """A class that only its owner's adapter knows."""

    __slots__ = ("degrees",)

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class ThermostatAdapter:
    name = "thermostat"

    def claims(self, kind: type) -> bool:
        return kind is Thermostat

    def capture(self, value: Thermostat, walk: Any, path: str) -> Node:
        return {"degrees": value.degrees}

    def plan(self, live: Thermostat, node: Node, fit: Any, path: str) -> Callable[[], Any]:
        def act() -> Thermostat:
            live.degrees = node["degrees"]
            return live

        return act


def test_a_registered_adapter_takes_its_type():
    with pytest.raises(UnsupportedStateError):
        capture(Thermostat(1.0))
    register_adapter(ThermostatAdapter())
    live = Thermostat(0.0)
    restore(capture({"t": Thermostat(21.5)}), {"t": live})
    assert live.degrees == 21.5


def test_importing_the_package_imports_no_framework():
    code = "import sys, holdfast.state; print(sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plain_data_and_arrays_need_no_framework():
    code = """
import sys, numpy, holdfast.state as state
snapshot = state.capture({"x": numpy.ones(3), "n": [1, "a"], "b": bytes(2000)})
state.restore(snapshot, {"x": numpy.zeros(3), "n": [], "b": b""}), state.rebuild(snapshot), state.digest(snapshot)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
