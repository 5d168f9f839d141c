"""Your own loop around Flax nnx and optax: dropout, a schedule, shuffled data, bfloat16 averages, a random key."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from holdfast import Checkpointing, Run
from holdfast.data import Dataset
from tests.support.integrations.acceptance import Ended

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what JAX gives up, and an older Flax uses
    from flax import nnx

NEEDS = ("jax", "flax", "optax")


class Small(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.drop(nnx.relu(self.first(x))))


@nnx.jit
def step(model, optimizer, x, y):
    loss, gradients = nnx.value_and_grad(lambda model: jnp.square(model(x) - y).mean())(model)
    optimizer.update(model, gradients)
    return loss


@jax.jit
def averaged(mean, kernel):
    return 0.9 * mean + 0.1 * kernel.astype(jnp.bfloat16)


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    model = Small(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(optax.cosine_decay_schedule(1e-2, 40)), wrt=nnx.Param)
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    data = Dataset({"x": x, "y": x.sum(1, keepdims=True)})
    values = {"key": jax.random.key(1), "mean": jnp.zeros((6, 8), jnp.bfloat16)}
    with Run(directory, {"model": model, "optimizer": optimizer, **values}, checkpointing=policy) as run:
        for _ in run.epochs(4):
            for batch in run.batches(data, batch_size=4, seed=3):
                beat()
                run["key"], noise = jax.random.split(run["key"])
                inputs = batch["x"] + 0.01 * jax.random.normal(noise, batch["x"].shape)
                run.log(loss=step(model, optimizer, inputs, batch["y"]))
                run["mean"] = averaged(run["mean"], model.first.kernel[...])
        return Ended(run.state_digest(), run.last_resume)
