"""Two names that began as one object (`target = params`) and are two by the time of a save come back as two."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run
from holdfast.errors import StateMismatchError


@dataclass
class Settings:
    rate: float


PAIRS: dict[str, tuple[Any, Any]] = {
    "dicts of numbers": ({"lr": 0.1}, {"lr": 0.2}),
    "dicts of other names": ({"a": 1}, {"b": 2}),
    "lists": ([0.1], [0.2]),
    "longer lists": ([0.1], [0.2, 0.3]),
    "deques": (deque([1]), deque([2])),
    "sets": ({1}, {2}),
    "dicts in lists": ([{"n": 1}], [{"n": 2}]),
    "dataclasses": (Settings(0.1), Settings(0.2)),
}


@pytest.mark.parametrize("what", PAIRS)
def test_both_have_their_own_values(what, tmp_path):
    one, other = PAIRS[what]
    place = holdfast.save(tmp_path / "x", {"one": one, "other": other})
    shared = type(one)(1.0) if isinstance(one, Settings) else type(one)(one)
    into = {"one": shared, "other": shared}
    holdfast.load(place, into=into)
    assert (into["one"], into["other"]) == (one, other)
    assert into["one"] is shared


def test_what_is_one_object_still_stays_one(tmp_path):
    both = {"lr": 0.1, "seen": [1, 2]}
    place = holdfast.save(tmp_path / "x", {"one": both, "other": both})
    shared = {"lr": 0.0, "seen": [0, 0]}
    into = {"one": shared, "other": shared}
    holdfast.load(place, into=into)
    assert into["one"] is into["other"] is shared
    assert shared == both


@pytest.mark.medium
@pytest.mark.leaves_threads
def test_a_target_network_of_jax_is_killed_and_exact(tmp_path):
    jnp = pytest.importorskip("jax.numpy")

    def train(directory, crash_at=None):
        params = {"layers": [{"w": jnp.zeros(3)}]}
        objects = {"params": params, "target": params}
        with Run(directory, objects, checkpointing=Checkpointing(save_on="batch_end")) as run:
            for step in run.steps(7):
                run["params"] = {"layers": [{"w": run["params"]["layers"][0]["w"] + 1}]}
                if step % 3 == 2:
                    run["target"] = run["params"]
                if step == crash_at:
                    raise RuntimeError("a cable was pulled")
        return [np.asarray(run[name]["layers"][0]["w"]).tolist() for name in objects], run

    wanted, _ = train(tmp_path / "uninterrupted")
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path / "killed", 4)
    found, run = train(tmp_path / "killed")
    assert found == wanted == [[7.0] * 3, [6.0] * 3]
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"


@pytest.mark.medium
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_target_network_of_arrays_is_left_twice_and_exact(library, tmp_path):
    arrays = pytest.importorskip(library)

    def train(directory, crash_at=None):
        params = {"layers": [{"w": arrays.zeros(3)}], "fixed": arrays.ones(2)}
        objects = {"params": params, "target": params}
        with Run(directory, objects, checkpointing=Checkpointing(save_on="batch_end")) as run:
            for step in run.steps(9):
                now = run["params"]
                run["params"] = {"layers": [{"w": now["layers"][0]["w"] + 1}], "fixed": now["fixed"]}
                if step % 3 == 2:
                    run["target"] = run["params"]
                if step == 7:
                    run["params"]["fixed"] += 1  # which is one array in both
                if step == crash_at:
                    raise RuntimeError("a cable was pulled")
        return {name: repr(run[name]) for name in objects}, run

    wanted, _ = train(tmp_path / "uninterrupted")
    for crash_at in (4, 6):
        with pytest.raises(RuntimeError, match="a cable"):
            train(tmp_path / "left", crash_at)
    found, run = train(tmp_path / "left")
    assert found == wanted
    assert run["params"]["fixed"] is run["target"]["fixed"]
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"


def test_an_array_of_another_shape_is_refused_where_its_container_is_made_anew(tmp_path):
    place = holdfast.save(tmp_path / "x", {"one": {"w": np.zeros(3)}, "other": {"w": np.ones(4)}})
    shared = {"w": np.zeros(3)}
    with pytest.raises(StateMismatchError, match="other/w"):
        holdfast.load(place, into={"one": shared, "other": shared})


BECOMING: dict[str, Any] = {
    "lists": (lambda: {"a": [0], "b": [1]}, lambda value: value.append(1)),
    "dicts": (lambda: {"a": {"n": 0}, "b": {"n": 1}}, lambda value: value.update(n=value["n"] + 1)),
    "arrays": (lambda: {"a": np.zeros(2), "b": np.ones(2)}, lambda value: value.__iadd__(1)),
}


@pytest.mark.parametrize("what", BECOMING)
@pytest.mark.parametrize("is_deep", [False, True])
def test_what_has_become_one_object_is_one_after_a_resume(what, is_deep, tmp_path):
    make, change = BECOMING[what]

    def train(directory, crash_at=None):
        objects = {"deep": [make()]} if is_deep else make()
        with Run(directory, objects, checkpointing=Checkpointing(save_on="batch_end")) as run:
            pair = run["deep"][0] if is_deep else None
            for step in run.steps(8):
                if step == crash_at:
                    raise RuntimeError("a cable was pulled")
                if step == 2 and pair is None:
                    run["b"] = run["a"]
                elif step == 2:
                    pair["b"] = pair["a"]
                change(run["a"] if pair is None else pair["a"])
        pair = {name: run[name] for name in ("a", "b")} if pair is None else pair
        return repr(pair), run

    wanted, _ = train(tmp_path / "uninterrupted")
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path / "killed", 5)
    found, run = train(tmp_path / "killed")
    assert found == wanted
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
