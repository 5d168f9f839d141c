"""Registered pytrees, modules of functions and arrays, and what Flax makes of arrays come back; functions stay the script's."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
from flax import nnx
from flax.core import FrozenDict, freeze
from jax import tree_util as trees
from jax.experimental import sparse

import holdfast
from holdfast import state
from holdfast.errors import StateMismatchError, UnsupportedStateError
from holdfast.records import Alias

pytestmark = pytest.mark.leaves_threads


@trees.register_pytree_node_class
class Scaled:
    def __init__(self, scale: Any, count: Any, name: Any = "s") -> None:
        self.scale, self.count, self.name = scale, count, name

    def tree_flatten(self) -> Any:
        return (self.scale,), (self.count, self.name)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Scaled:
        return cls(*children, *static)


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


@functools.partial(
    trees.register_dataclass, data_fields=["weight", "layers"], meta_fields=["act", "count", "mode"]
)
@dataclasses.dataclass(frozen=True)
class Net:
    """As modules of Equinox are: functions among the children, and static fields."""

    weight: Any
    layers: Any
    act: Any = jax.nn.relu
    count: int = 0
    mode: Mode = Mode.FAST


@trees.register_static
@dataclasses.dataclass(frozen=True)
class Settings:
    width: int


class Own:
    """Nothing that is known."""


def saved_into(live: Any, value: Any) -> Any:
    return state.restore(state.capture({"it": value}), {"it": live}).value["it"]


def digest(value: Any) -> str:
    return state.digest(state.capture(value))


def net(fill: float, **other: Any) -> Net:
    return Net(jnp.full(2, fill), [Scaled(jnp.full(3, fill), 0), jax.nn.gelu, jnp.tanh], **other)


def test_a_registered_class_comes_back_with_its_static_data_in_the_live_object():
    value, live = Scaled(jnp.arange(3.0), 7), Scaled(jnp.zeros(3), 0)
    alias = live
    assert saved_into(live, value) is alias
    assert (alias.count, alias.name, alias.scale.tolist()) == (7, "s", [0, 1, 2])
    assert digest(alias) == digest(value) != digest(Scaled(jnp.arange(3.0), 8))


def test_functions_stay_those_of_the_live_object(tmp_path):
    value = net(2.0, act=jnp.sin, count=5, mode=Mode.EXACT)
    live = net(1.0, act=jnp.cos)
    place = holdfast.save(tmp_path / "it", {"it": value})
    back = holdfast.load(place, into={"it": live}).value["it"]
    assert (back.act, back.layers[1:]) == (jnp.cos, [jax.nn.gelu, jnp.tanh])
    assert (back.count, back.mode) == (5, Mode.EXACT)
    assert (back.weight.tolist(), back.layers[0].scale.tolist()) == ([2, 2], [2, 2, 2])
    assert live.weight.tolist() == [1, 1]  # it is frozen: there is another one now
    found = holdfast.load(place)["it"]
    assert (found["weight"].tolist(), found["act"], found["count"]) == ([2, 2], None, 5)
    with holdfast.open(place) as opened:
        assert opened.verify(deep=True) == []
        assert opened.load(mmap=True)["it/weight"].tolist() == [2, 2]
    assert holdfast.export(place, tmp_path / "it.npz").arrays == ("it.weight", "it.layers.0.0")


def test_fields_can_be_left_out():
    taken = state.capture({"it": net(2.0, count=5)}, exclude=["it/count", "it/weight"])
    live = {"it": net(1.0, count=7)}
    with pytest.raises(StateMismatchError, match="leaves it out"):
        state.restore(taken, live)
    back = state.restore(taken, live, keep=["it/*"]).value["it"]
    assert (back.count, back.weight.tolist(), back.layers[0].scale.tolist()) == (7, [1, 1], [2, 2, 2])


def test_a_class_may_keep_functions_beside_its_children():
    value, live = Scaled(jnp.ones(2), jnp.sin, ("a", 1)), Scaled(jnp.zeros(2), jnp.cos, ("b", 2))
    back = saved_into(live, value)
    assert (back.count, back.name, back.scale.tolist()) == (jnp.cos, ("a", 1), [1, 1])


def test_what_does_not_fit_a_pytree_is_named():
    live = net(1.0)
    before = digest(live)
    with pytest.raises(StateMismatchError, match=r"it/weight: an array float32 \[3\] was saved"):
        saved_into(live, dataclasses.replace(live, weight=jnp.ones(3)))
    with pytest.raises(StateMismatchError, match=r"it/layers/1: an array .* the live value is a .*function"):
        saved_into(live, dataclasses.replace(live, layers=[live.layers[0], jnp.ones(1), jnp.tanh]))
    with pytest.raises(StateMismatchError, match="it/act: an int was saved, the live value is"):
        saved_into(live, dataclasses.replace(live, act=3))
    with pytest.raises(StateMismatchError, match=r"it/act: .* was saved, the live value is"):
        saved_into(dataclasses.replace(live, act=3), live)
    with pytest.raises(StateMismatchError, match=r"a .*Scaled was saved, the live object is a .*Settings"):
        saved_into(Settings(1), Scaled(jnp.ones(1), 1))
    assert digest(live) == before


def test_objects_that_are_neither_known_nor_code_are_refused():
    with pytest.raises(UnsupportedStateError, match=r"'it/layers/0': a .*Own is not supported"):
        state.capture({"it": Net(jnp.ones(1), [Own()])})
    with pytest.raises(UnsupportedStateError, match="Function is not supported"):
        state.capture({"it": [jnp.tanh]})  # in no pytree that is registered


def test_in_an_object_that_is_handed_over_functions_of_pytrees_are_left_too():
    class Agent:
        def __init__(self, fill: float) -> None:
            self.net, self.log = net(fill), Own()

    live = Agent(1.0)
    state.restore(state.capture({"it": holdfast.attributes(Agent(2.0))}), {"it": holdfast.attributes(live)})
    assert live.net.weight.tolist() == [2, 2]
    assert live.net.layers[1] is jax.nn.gelu


@pytest.mark.medium
def test_pytrees_of_jax_itself_come_back():
    matrix = sparse.BCOO.fromdense(jnp.eye(3))
    back = saved_into(sparse.BCOO.fromdense(2 * jnp.eye(3)), matrix)
    assert np.array_equal(back.todense(), np.eye(3))
    partial = trees.Partial(jnp.add, jnp.ones(2))
    assert saved_into(trees.Partial(jnp.add, jnp.zeros(2)), partial)(1.0).tolist() == [2, 2]
    assert saved_into(Settings(1), Settings(3)) == Settings(3)


def test_what_changes_after_a_capture_does_not_reach_it():
    value, inside = Scaled(np.ones(2), 1), np.ones(2)
    taken = state.capture({"it": value, "variable": nnx.Param(inside)})
    value.scale[:] = 5
    value.count = 9
    inside[:] = 5
    assert state.rebuild(taken)["it"]["0"].tolist() == [1, 1]
    assert state.rebuild(taken)["variable"].tolist() == [1, 1]
    assert saved_into(Scaled(np.zeros(2), 0), value).count == 9


def test_one_array_at_two_places_is_saved_once_and_is_one_again(tmp_path):
    weight, weak = jnp.arange(3.0), jnp.full(2, 1.0)
    value = {"a": weight, "b": [weight], "weak": [weak, weak]}
    taken = state.capture(value)
    assert isinstance(taken.tree["b"][0], Alias)
    back = state.rebuild(taken)
    assert back["a"] is back["b"][0]
    live = {"a": jnp.zeros(3), "b": [jnp.ones(3)], "weak": [jnp.full(2, 5.0), jnp.full(2, 6.0)]}
    assert digest(state.restore(taken, live).value) == digest(value)
    assert live["weak"][1].weak_type


def test_a_difference_of_what_is_nothing_but_an_array_or_a_value_is_told(tmp_path):
    def saved(name: str, fill: float) -> Any:
        values = {
            "weak": jnp.full(2, fill),
            "key": jax.random.key(int(fill)),
            "mode": Mode(int(fill)),
            "v": nnx.Param(jnp.full(2, fill)),
        }
        return holdfast.save(tmp_path / name, values)

    found = holdfast.diff(saved("a", 1.0), saved("b", 2.0))
    assert sorted(found.differing) == ["key", "mode", "v", "weak"]
    assert holdfast.diff(saved("c", 1.0), saved("d", 1.0)).same_state
    weak, strong = (
        holdfast.save(tmp_path / str(x.weak_type), {"x": x}) for x in (jnp.full(2, 1.0), jnp.ones(2))
    )
    assert holdfast.diff(weak, strong).differing == ("x/",)


def test_the_same_object_at_two_places_becomes_two_where_they_had_parted(tmp_path):
    first, second = Scaled(jnp.ones(1), 1), Scaled(jnp.zeros(1), 2)
    live = Scaled(jnp.zeros(1), 0)
    into = {"a": live, "b": live}
    holdfast.load(holdfast.save(tmp_path / "it", {"a": first, "b": second}), into=into)
    assert [(each.count, each.scale.tolist()) for each in into.values()] == [(1, [1]), (2, [0])]
    variable = nnx.Param(jnp.zeros(1))
    both = {"a": variable, "b": variable}
    taken = state.capture({"a": nnx.Param(jnp.ones(1)), "b": nnx.Param(jnp.full(1, 2.0))})
    assert [each[...].tolist() for each in state.restore(taken, both).value.values()] == [[1], [2]]


@pytest.mark.medium
def test_a_variable_and_a_state_are_filled_in_place(tmp_path):
    value, live = (nnx.Linear(2, 3, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    parts = {"state": nnx.state(value), "kernel": value.kernel}
    place = holdfast.save(tmp_path / "it", parts)
    into = {"state": nnx.state(live), "kernel": live.kernel}
    kernel, held = live.kernel, into["state"]
    holdfast.load(place, into=into)
    assert into["kernel"] is kernel
    assert into["state"] is held
    assert digest(into) == digest(parts)
    x = jnp.ones((1, 2))
    assert np.array_equal(live(x), value(x))  # its variables are those of the state
    assert np.array_equal(holdfast.load(place)["state"]["kernel"], value.kernel[...])
    with pytest.raises(StateMismatchError, match=r"a .*Param was saved, the live object is a .*BatchStat"):
        state.restore(state.capture({"it": value.kernel}), {"it": nnx.BatchStat(jnp.zeros((2, 3)))})


def test_a_frozen_dict_comes_back_as_one(tmp_path):
    value = freeze({"dense": {"kernel": jnp.arange(3.0)}, "n": 2})
    place = holdfast.save(tmp_path / "it", {"it": value})
    live = freeze({"dense": {"kernel": jnp.zeros(3)}, "n": 0})
    for back in (holdfast.load(place)["it"], holdfast.load(place, into={"it": live}).value["it"]):
        assert type(back) is FrozenDict
        assert digest(back) == digest(value)
    assert live["n"] == 0
    assert type(saved_into(live, value.unfreeze())) is FrozenDict


def test_modules_of_equinox_come_back(tmp_path):
    eqx: Any = pytest.importorskip("equinox")

    def made(seed: int) -> Any:
        first, last = jax.random.split(jax.random.key(seed))
        layers = [
            eqx.nn.Linear(2, 3, key=first),
            jax.nn.relu,
            eqx.nn.Lambda(jnp.tanh),
            eqx.nn.Dropout(0.1 * (seed + 1)),
        ]
        return (
            eqx.nn.Sequential([*map(eqx.nn.Lambda, layers[1:2]), layers[2], layers[3]]),
            eqx.nn.MLP(2, 2, 4, 1, activation=jax.nn.gelu, key=last),
            eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", mode="batch"),
        )

    value, live = made(0), made(1)
    place = holdfast.save(tmp_path / "it", {"it": value})
    back = holdfast.load(place, into={"it": live}).value["it"]
    assert jax.tree.structure(back) == jax.tree.structure(value)
    assert digest(back) == digest(value)
    assert np.array_equal(back[1](jnp.ones(2)), value[1](jnp.ones(2)))
