"""Optimizers that a Keras model holds for a `train_step` of its own are part of its state."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("keras") is None:  # importing it would choose a backend
    pytest.skip("keras is not installed", allow_module_level=True)

SCRIPT = """
import warnings

warnings.filterwarnings("ignore")
import keras
import numpy as np
import torch

from holdfast import Checkpointing
from holdfast.integrations.keras import HoldfastCallback

HOLDING = ""
layers = keras.layers


class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.gen = keras.Sequential([layers.Input((2,)), layers.Dense(4, name="g")], name="gen")
        self.disc = keras.Sequential([layers.Input((4,)), layers.Dense(1, name="d")], name="disc")
        self.draws = keras.random.SeedGenerator(1)
        self.seen = keras.metrics.Mean(name="seen")
        self.built = True

    def compile(self, one, other):
        super().compile()
        if HOLDING == "attributes":
            self.d_optimizer, self.g_optimizer = one, other
        elif HOLDING == "a list":
            self.optimizers = [one, other]
        elif HOLDING == "a dict":
            self.optimizers = {"disc": one, "gen": other}
        else:
            self.disc.compile(one, "mse")
            self.g_optimizer = other

    def steppers(self):
        if HOLDING == "a list":
            return self.optimizers
        if HOLDING == "a dict":
            return [self.optimizers["disc"], self.optimizers["gen"]]
        return [self.disc.optimizer if HOLDING == "a part" else self.d_optimizer, self.g_optimizer]

    @property
    def metrics(self):
        return [self.seen]

    def train_step(self, real):
        real = real[0] if isinstance(real, tuple) else real
        z = keras.random.normal((len(real), 2), seed=self.draws)
        for part, optimizer in zip((self.disc, self.gen), self.steppers()):
            self.zero_grad()
            sign = 1 if part is self.disc else -1
            loss = sign * (self.disc(self.gen(z)) - self.disc(real)).square().mean()
            loss.backward()
            with torch.no_grad():
                optimizer.apply([v.value.grad for v in part.trainable_weights], part.trainable_weights)
        self.seen.update_state(loss)
        return {"seen": self.seen.result()}


class Crash(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.steppers()[0].iterations) == 13:
            raise RuntimeError("a cable was pulled")


def train(directory, *callbacks):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = Gan()
    model.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2))
    held = HoldfastCallback(directory, checkpointing=Checkpointing(save_on="batch_end", every_n=3))
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    model.fit(x, batch_size=8, epochs=3, verbose=0, callbacks=[held, *callbacks])
    return model, held


for HOLDING in ("attributes", "a list", "a dict", "a part"):
    wanted, one = train(f"{HOLDING}/uninterrupted")
    try:
        train(f"{HOLDING}/killed", Crash())
    except RuntimeError:
        pass
    model, other = train(f"{HOLDING}/killed")
    assert other.last_resume.verdict == "exact", other.last_resume.verdict
    assert all(map(np.array_equal, wanted.get_weights(), model.get_weights()))
    assert [int(each.iterations) for each in model.steppers()] == [24, 24]
    assert one.state_digest() == other.state_digest()
"""


@pytest.mark.medium
def test_a_gan_with_two_optimizers_of_its_own_is_killed_and_exact(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
