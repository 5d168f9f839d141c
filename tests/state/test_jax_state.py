"""Arrays, keys, modules and optimizer states of JAX come back bit for bit, with what the bytes do not say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("optax")

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from flax.training.train_state import TrainState

import holdfast
from holdfast import state
from holdfast.errors import StateMismatchError, UnsupportedStateError

pytestmark = pytest.mark.leaves_threads

SMALL = [
    "int2",
    "int4",
    "uint2",
    "uint4",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float4_e2m1fn",
]
DTYPES = ["bool", "int8", "uint32", "float16", "bfloat16", "float32", "complex64", "float8_e4m3fn", *SMALL]


def module(seed: int) -> Any:
    rngs = nnx.Rngs(seed)
    return nnx.Sequential(
        nnx.Linear(2, 3, rngs=rngs), nnx.Dropout(0.2, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)
    )


def saved_into(live: Any, value: Any) -> Any:
    return state.restore(state.capture({"it": value}), {"it": live}).value["it"]


def digest(value: Any) -> str:
    return state.digest(state.capture(value))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_an_array_of_any_type_and_shape_comes_back(dtype, shape):
    value = (jnp.arange(np.prod(shape, dtype=int)).reshape(shape) % 3).astype("float32").astype(dtype)
    back = saved_into(jnp.zeros(shape, dtype), value)
    assert (back.dtype, back.shape, back.weak_type) == (value.dtype, shape, False)
    assert np.array_equal(np.asarray(back), np.asarray(value))
    assert type(state.rebuild(state.capture(value))) is type(value)


@pytest.mark.parametrize("value", [2, 2.5, 1j])
def test_what_stands_for_a_python_number_promotes_as_before(value):
    weak = jnp.full((2,), value)
    assert weak.weak_type
    for back in (saved_into(jnp.zeros_like(weak), weak), state.rebuild(state.capture(weak))):
        assert back.weak_type
        assert (back * jnp.ones(2, jnp.bfloat16)).dtype == (weak * jnp.ones(2, jnp.bfloat16)).dtype
        assert np.array_equal(back, weak)


@pytest.mark.medium
@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_a_key_gives_the_same_numbers_and_must_be_of_the_same_generator(implementation):
    keys = jax.random.split(jax.random.key(7, impl=implementation), 3)
    back = saved_into(jax.random.split(jax.random.key(0, impl=implementation), 3), keys)
    assert np.array_equal(jax.random.normal(back[2], (4,)), jax.random.normal(keys[2], (4,)))
    with pytest.raises(StateMismatchError, match="the live one is of unsafe_rbg"):
        saved_into(jax.random.key(0, impl="unsafe_rbg"), keys)


@pytest.mark.medium
def test_an_optimizer_state_keeps_its_named_tuples():
    transform = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=1e-3))
    parameters = {"w": jnp.ones(3), "layers": [jnp.zeros(2)]}
    _, moved = transform.update(parameters, transform.init(parameters), parameters)
    back = saved_into(transform.init(parameters), moved)
    assert jax.tree.structure(back) == jax.tree.structure(moved)
    assert digest(back) == digest(moved)


@pytest.mark.medium
def test_moments_that_an_update_has_widened_go_back_into_a_state_that_is_new():
    transform = optax.inject_hyperparams(optax.adamw)(learning_rate=1e-3)
    parameters = {"w": jnp.ones(3), "half": jnp.ones(2, jnp.bfloat16)}
    _, moved = transform.update(parameters, transform.init(parameters), parameters)
    back = saved_into(transform.init(parameters), moved)
    assert digest(back) == digest(moved)
    widened = moved.inner_state[0].mu["half"].dtype  # to float32 by optax from 0.2.6 on
    assert back.inner_state[0].mu["half"].dtype == widened


def test_a_module_and_its_optimizer_are_filled_in_place():
    model, live = module(0), module(1)
    adam = optax.adam(1e-2)
    things = {"model": model, "optimizer": nnx.Optimizer(model, adam, wrt=nnx.Param)}
    fresh = {"model": live, "optimizer": nnx.Optimizer(live, adam, wrt=nnx.Param)}
    kernel = live.layers[0].kernel
    assert digest(fresh) != digest(things)
    state.restore(state.capture(things), fresh)
    assert digest(fresh) == digest(things)
    assert live.layers[0].kernel is kernel


def test_a_train_state_keeps_the_functions_of_the_script():
    transform = optax.adam(1e-3)

    def made(fill: float) -> TrainState:
        return TrainState.create(apply_fn=print, params={"w": jnp.full(3, fill)}, tx=transform)

    moved = made(1.0).apply_gradients(grads={"w": jnp.ones(3)})
    live = made(2.0)
    back = saved_into(live, moved)
    assert digest(back) == digest(moved)
    assert (back.apply_fn, back.tx) == (live.apply_fn, transform)


@pytest.mark.medium
def test_what_does_not_fit_is_named_and_changes_nothing():
    live = module(1)
    before = digest(live)
    other = nnx.Sequential(nnx.Linear(2, 4, rngs=nnx.Rngs(0)), *module(0).layers[1:])
    with pytest.raises(StateMismatchError, match=r"it/layers/%i:0/kernel.*float32 \[2, 4\] was saved"):
        saved_into(live, other)
    with pytest.raises(StateMismatchError, match=r"bfloat16 \[3\] was saved, the live array is float32"):
        saved_into(jnp.zeros(3), jnp.zeros(3, jnp.bfloat16))
    with pytest.raises(
        StateMismatchError, match=r"float8_e5m2 \[3\] was saved, the live array is float8_e4m3fn"
    ):
        saved_into(jnp.zeros(3, jnp.float8_e4m3fn), jnp.zeros(3, jnp.float8_e5m2))
    assert digest(live) == before


@pytest.mark.parametrize("dtype", SMALL)
def test_every_number_of_a_small_type_comes_back_from_the_disk(tmp_path, dtype):
    bits = 8 if dtype.startswith("float8") else 4 if dtype.startswith("float4") else int(dtype[-1])
    every = np.arange(2**bits, dtype=np.uint8)
    value = jnp.asarray(every.view(getattr(jnp, dtype).dtype))
    place = holdfast.save(tmp_path / "it", {"it": value})
    into = {"it": jnp.zeros(value.shape, value.dtype)}
    holdfast.load(place, into=into)
    with holdfast.open(place) as opened:
        mapped = opened.load(mmap=True)["it"]
    for found in (into["it"], holdfast.load(place)["it"], mapped):
        assert found.dtype == value.dtype
        assert np.array_equal(np.asarray(found).view(np.uint8), every)


def test_a_save_outlives_the_donation_of_what_it_saved_without_a_copy():
    value = jnp.arange(1 << 16, dtype=jnp.float32)
    taken = state.capture({"it": value})
    leaf = taken.tree["it"]
    assert taken.piece(leaf, 0, 1).ctypes.data == value.unsafe_buffer_pointer()
    doubled = jax.jit(lambda x: 2 * x, donate_argnums=0)(value)
    assert np.array_equal(state.rebuild(taken)["it"], np.arange(1 << 16))
    assert doubled[1] == 2


@pytest.mark.medium
def test_what_has_no_values_is_refused():
    gone = jnp.ones(3)
    gone.delete()
    with pytest.raises(UnsupportedStateError, match="memory was donated"):
        state.capture({"it": gone})
    with pytest.raises(UnsupportedStateError, match="outside of jit"):
        jax.jit(lambda x: state.capture({"it": x}))(jnp.ones(3))
