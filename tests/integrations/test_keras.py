"""A fit that is held ends as one that is not, and never restores less than it says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.support.integrations.acceptance import compiled_once

if importlib.util.find_spec("keras") is None:  # importing it would choose a backend
    pytest.skip("keras is not installed", allow_module_level=True)

SCRIPT = """
import signal
import sys

import numpy as np
import pytest
import torch
from keras.callbacks import LambdaCallback
from tests.support.integrations.cases.keras_fit import compiled, fit, keras
from tests.support.integrations.crashing import counter

import holdfast
from holdfast import Checkpointing, errors
from holdfast.integrations.keras import HoldfastCallback


class Crash(Exception):
    pass


def held(directory, hook="batch_end", every_n=3):
    return HoldfastCallback(directory, checkpointing=Checkpointing(mode="disk", save_on=hook, every_n=every_n))


def crashing(at):
    count = counter()  # which goes back with nothing

    def beat(batch, logs=None):
        if count() == at:
            raise Crash

    return LambdaCallback(on_train_batch_begin=beat)


def same(one, other):
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


stock = compiled()
history = fit(stock, [])
model, callback = compiled(), held("uninterrupted")
kept = fit(model, [callback])
assert same(stock, model), "saving changed something"
assert kept.history == history.history

for hook in ("phase_start", "epoch_start", "batch_start", "batch_end", "epoch_end"):
    with pytest.raises(Crash):
        fit(compiled(), [held(hook, hook, 1), crashing(26)])
    model, again = compiled(), held(hook, hook, 1)
    resumed = fit(model, [again])
    assert again.last_resume.verdict == "exact", hook
    assert same(stock, model), hook
    assert resumed.history == history.history, hook

class Slowing(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self._seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self._seen += 1
        if self._seen == 22:
            self.model.optimizer.learning_rate = 1e-5


slowed = compiled()
fit(slowed, [Slowing()])
with pytest.raises(Crash):
    fit(compiled(), [held("slowing"), Slowing(), crashing(20)])
model = compiled()
fit(model, [held("slowing"), Slowing()])
assert same(slowed, model), "what a callback keeps for itself was lost"

again = held("uninterrupted")
fit(compiled(), [again])  # has ended: nothing is trained
assert again.state_digest() == callback.state_digest()
longer = held("uninterrupted")
assert len(fit(compiled(), [longer], epochs=5).epoch) == 5

with pytest.raises(Crash):
    fit(compiled(), [held("other"), crashing(9)])
keras.utils.clear_session()
with pytest.raises(errors.StateMismatchError, match="was saved with|was saved, the live"):
    fit(compiled(9), [held("other")])
second = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(8, name="another"), keras.layers.Dense(1)])
second.compile("adamw", "mse")
with pytest.raises(errors.StateMismatchError, match="there is no live object for it"):
    fit(second, [held("other")])



class NonFinite(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 15:
            self.model.layers[0].kernel.assign(np.full((6, 8), np.nan, "float32"))
            if keras.backend.backend() == "jax":  # which trains from a copy within an epoch
                self.model._jax_state["trainable_variables"] = [v.value for v in self.model.trainable_variables]


def minding(directory, what):
    policy = Checkpointing(mode="disk", save_on="batch_end", every_n=2, on_divergence=what)
    return HoldfastCallback(directory, checkpointing=policy)


with pytest.raises(errors.UsageError, match="epochs of a fit only go forward"):
    minding("sick", "rollback")
with pytest.raises(errors.DivergenceError, match="train_epoch1_batch3|train_epoch1_batch1"):
    fit(compiled(), [NonFinite(), minding("sick", "stop")])
again = minding("sick", "stop")
fit(compiled(), [again])  # from the newest that was finite
assert not again.last_resume.record.details.get("health")
assert same(stock, fit_model := again._model)

class Noisy(torch.utils.data.Dataset):
    def __init__(self, draw):
        self.transforms = [draw]

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return np.full(6, index + self.transforms[0](), "float32"), np.zeros(1, "float32")


for draw, says in (np.random.rand, "exact"), (np.random.default_rng(1).random, "not exact"):
    for last in (crashing(5), None):
        again = held(says)
        data = torch.utils.data.DataLoader(Noisy(lambda: draw()), batch_size=4, shuffle=True)
        try:
            compiled().fit(data, epochs=2, verbose=0, callbacks=[again, *([last] if last else [])])
        except Crash:
            pass
    assert again.last_resume.verdict.startswith(says), again.last_resume.verdict

class Unreadable(Noisy):
    def __getitem__(self, index):
        if index == 21:
            raise Crash
        return super().__getitem__(index)


def saves_at_once(name, data, *others, step=5, **options):
    handler = signal.getsignal(signal.SIGINT)
    policy = Checkpointing(mode="disk", save_on="phase_end", save_on_exception=True)
    with pytest.raises(Crash):
        held = HoldfastCallback(name, checkpointing=policy)
        compiled().fit(data, epochs=2, verbose=0, callbacks=[held, *others], **options)
    assert [each.record.moment.step for each in holdfast.scan(name)] == [step], name
    assert signal.getsignal(signal.SIGINT) is handler, name


def loader(dataset):
    return torch.utils.data.DataLoader(dataset, batch_size=4)


saves_at_once("a callback", loader(Noisy(np.random.rand)), crashing(6))
saves_at_once("the data", loader(Unreadable(np.random.rand)))
saves_at_once("the validation", loader(Noisy(np.random.rand)), step=8, validation_data=loader(Unreadable(np.random.rand)))

with pytest.raises((errors.UsageError, ValueError), match="must be"):  # with torch Keras itself refuses it
    second.compile("adamw", "mse", steps_per_execution=2)
    fit(second, [held("executions")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_held_fit_resumes_from_every_hook_and_refuses_what_does_not_match(backend, tmp_path):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | compiled_once(tmp_path / "programs") | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
