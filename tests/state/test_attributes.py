"""`attributes(obj)`: an object without a protocol is saved and put back by what it holds; what cannot be is named."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import holdfast
from holdfast.errors import StateMismatchError, UnsupportedStateError, UsageError


class Mode(Enum):
    WARM, MAIN = "warm", "main"


class Inner:
    __slots__ = ("count", "later")

    def __init__(self) -> None:
        self.count = 0


class Env:
    """As environments are: arrays, counters, a generator, what is None before the first reset, others within."""

    def __init__(self) -> None:
        self.position = np.zeros(3)
        self.rng = np.random.default_rng(0)
        self.steps, self.mode, self.state = 0, Mode.WARM, None
        self.inner = {"list": [Inner()], "it": Inner()}
        self.memory: deque = deque(maxlen=4)
        self.weights = torch.zeros(2)
        self.hook = len  # code
        self.config = {"lr": 0.1, "names": ("a", "b")}

    def step(self) -> None:
        self.steps, self.mode = self.steps + 1, Mode.MAIN
        self.position += self.rng.normal(size=3)
        self.state = np.full(2, self.steps)
        self.extra = {"new": self.steps}
        self.inner["list"][0].count += 1
        self.inner["it"].later = self.steps
        self.memory.append((self.steps, np.ones(2) * self.steps, None))
        self.weights += 1


def handed(env: object, **options):
    return {"env": holdfast.attributes(env, **{"leave": "hook", **options})}


def test_everything_comes_back_into_another_one(tmp_path):
    env = Env()
    for _ in range(6):
        env.step()
    place = holdfast.save(tmp_path / "env", handed(env))
    other = Env()
    position, inner, weights = other.position, other.inner["list"][0], other.weights
    holdfast.load(place, into=handed(other))
    assert other.position is position  # in place
    assert other.inner["list"][0] is inner
    assert other.weights is weights
    assert (other.steps, other.mode, inner.count, other.inner["it"].later) == (6, Mode.MAIN, 6, 6)
    assert other.extra == {"new": 6}
    assert other.state.tolist() == [6, 6]
    assert [item[0] for item in other.memory] == [3, 4, 5, 6]
    assert other.memory.maxlen == 4
    env.step()
    other.step()
    assert np.array_equal(env.position, other.position)
    assert holdfast.state.digest(holdfast.capture(handed(env))) == holdfast.state.digest(
        holdfast.capture(handed(other))
    )


def test_what_was_set_only_later_is_gone_after_going_back(tmp_path):
    env = Env()
    place = holdfast.save(tmp_path / "new", handed(env))
    env.step()
    holdfast.load(place, into=handed(env))
    assert not hasattr(env, "extra")
    assert not hasattr(env.inner["it"], "later")
    assert (env.state, env.steps, len(env.memory)) == (None, 0, 0)


def test_arrays_of_another_shape_are_new_values(tmp_path):
    env = Env()
    env.position = np.arange(5.0)
    place = holdfast.save(tmp_path / "grown", handed(env))
    other = Env()
    holdfast.load(place, into=handed(other))
    assert other.position.tolist() == [0, 1, 2, 3, 4]


def test_without_a_live_object_it_is_its_attributes(tmp_path):
    found = holdfast.load(holdfast.save(tmp_path / "env", handed(Env())))
    assert found["env"]["steps"] == 0
    assert found["env"]["inner"]["list"] == [{"count": 0}]
    assert "hook" not in found["env"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (len, "builtin_function_or_method"),
        (lambda: 0, "function"),
        (np, "module"),
        (Env, "type"),
        (threading.Lock(), "lock"),
        (iter([1]), "list_iterator"),
        (itertools.count(), "count"),
        ((x for x in [1]), "generator"),
        (np.dtype, "_DTypeMeta"),
        (memoryview(b"x"), "memoryview"),
    ],
)
def test_what_attributes_do_not_tell_is_refused_by_name(value, kind):
    env = Env()
    env.inner["it"].later = value
    with pytest.raises(
        UnsupportedStateError, match=rf"'env/inner/it/later': an? .*{kind}.*leave='inner/it/later'"
    ):
        holdfast.capture(handed(env))
    holdfast.capture(handed(env, leave=["hook", "inner/it/later"]))


@pytest.mark.parametrize("value", [3, [1], np.zeros(2), len, Env, np, iter([]), threading.Lock()])
def test_what_needs_no_attributes_or_has_none_is_refused_at_once(value):
    with pytest.raises(UsageError, match="attributes\\(\\) takes an object apart"):
        holdfast.attributes(value)


def test_cycles_and_other_classes_are_refused(tmp_path):
    env = Env()
    env.inner["it"].later = env
    with pytest.raises(UnsupportedStateError, match="contains itself"):
        holdfast.capture(handed(env))
    place = holdfast.save(tmp_path / "env", handed(Env()))
    with pytest.raises(StateMismatchError, match=r"Env was saved, the live object is a .*Inner"):
        holdfast.load(place, into=handed(Inner()))


def test_an_object_that_only_the_checkpoint_has_is_named(tmp_path):
    env = Env()
    env.state = Inner()
    place = holdfast.save(tmp_path / "env", handed(env))
    other = Env()
    with pytest.raises(StateMismatchError, match=r"env/state: a .*Inner was saved"):
        holdfast.load(place, into=handed(other))
    assert other.steps == 0


def test_what_is_left_stays_as_the_script_has_it(tmp_path):
    env = Env()
    env.step()
    place = holdfast.save(tmp_path / "env", handed(env, leave=["hook", "config/**", "config", "inner"]))
    other = Env()
    other.config = {"lr": 0.5}
    holdfast.load(place, into=handed(other, leave=["hook", "config", "inner"]))
    assert (other.config, other.inner["list"][0].count, other.steps) == ({"lr": 0.5}, 0, 1)


def test_frozen_and_guarded_classes_are_filled_too(tmp_path):
    class Guarded:
        def __init__(self):
            object.__setattr__(self, "x", SimpleNamespace(y=1))

        def __setattr__(self, name, value):
            raise AttributeError(name)

    one, other = Guarded(), Guarded()
    one.x.y = 2
    place = holdfast.save(tmp_path / "g", {"g": holdfast.attributes(one)})
    holdfast.load(place, into={"g": holdfast.attributes(other)})
    assert other.x.y == 2
