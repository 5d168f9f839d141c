"""What callbacks and models of a framework keep in attributes, and no state of theirs has, comes back or is named; so does which weights it froze."""

from __future__ import annotations

import importlib.util
import os
from collections import deque
from typing import Any

import numpy as np
import pytest

from holdfast import Checkpointing, Write
from tests.support.integrations.crashing import Crash, beats

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


class Replay:
    """A memory that knows nothing of checkpoints."""

    def __init__(self) -> None:
        self.kept: deque[Any] = deque(maxlen=4)
        self.draws = np.random.default_rng(0)


class Memory:
    """What a callback or a model may keep: `remember` is called in each batch."""

    def begin(self) -> None:
        self.count, self.table, self.threshold = 0, np.zeros(3), 1.0
        self.recent: deque[int] = deque(maxlen=3)
        self.replay = Replay()
        self.stream = None

    def remember(self) -> None:
        self.count += 1
        self.table[self.count % 3] += self.replay.draws.normal()
        self.recent.append(self.count)
        self.replay.kept.append(np.full(2, self.count))
        if self.stream is not None:
            next(self.stream)

    def told(self) -> list[Any]:
        kept = [each.tolist() for each in self.replay.kept]
        return [self.count, self.table.tolist(), list(self.recent), kept, self.replay.draws.normal()]


def lightning(directory, crash_at=None, change=lambda memory: None):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    class Remembers(pl.Callback, Memory):
        def on_train_batch_start(self, *details):
            self.remember()

    class Model(Small, Memory):
        def training_step(self, batch, index):
            self.remember()
            if self.count == 3:
                next(self.parameters()).requires_grad_(False)
            return super().training_step(batch, index)

    pl.seed_everything(1, verbose=False)
    held, callback, model = (
        HoldfastCallback(directory, checkpointing=policy()),
        Remembers(),
        Model(beats(crash_at)),
    )
    callback.begin()
    model.begin()
    change(callback)
    trainer(held, callback, max_epochs=2).fit(model, *loaders())
    return held, [callback, model]


def transformers(directory, crash_at=None, change=lambda memory: None):
    from transformers import TrainerCallback

    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    class Remembers(TrainerCallback, Memory):
        def on_step_begin(self, args, state, control, model=None, **more):
            self.remember()
            if self.count == 3:
                next(model.parameters()).requires_grad_(False)

    callback = Remembers()
    callback.begin()
    change(callback)
    made = trainer(directory, callback, Beats(beats(crash_at)), num_train_epochs=1)
    held = hold(made, checkpointing=policy())
    made.train()
    return held, [callback]


def keras(directory, crash_at=None, change=lambda memory: None):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import LambdaCallback, compiled, fit

    class Remembers(keras.callbacks.Callback, Memory):
        def on_train_batch_end(self, batch, logs=None):
            self.remember()

    class Scaled(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.calls = 0

        def call(self, x, training=False):
            if training:
                self.calls += 1
            return x * (1 + 0.01 * self.calls)

    callback = Remembers()
    callback.begin()
    change(callback)
    compiled()  # clears and seeds
    inside = [keras.layers.Dense(4), Scaled(name="scaled"), keras.layers.Dense(1)]
    model, beat = keras.Sequential([keras.layers.Input((6,)), *inside]), beats(crash_at)
    model.compile("adam", "mse", metrics=["mae"])
    held = HoldfastCallback(directory, checkpointing=policy())
    fit(
        model,
        [callback, held, LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())],
        epochs=2,
    )
    return held, [callback]


FITS = [lightning, transformers, pytest.param(keras, marks=pytest.mark.leaves_threads)]


def only_if_installed(fit):
    if importlib.util.find_spec(fit.__name__) is None:
        pytest.skip(f"{fit.__name__} is not installed")


@pytest.mark.medium
@pytest.mark.parametrize("fit", FITS)
def test_what_callbacks_and_models_keep_comes_back(fit, tmp_path):
    only_if_installed(fit)
    uninterrupted, memories = fit(tmp_path / "a")
    with pytest.raises(Crash):
        fit(tmp_path / "b", 8)
    again, memories_again = fit(tmp_path / "b")
    assert again.last_resume.verdict == "exact"
    assert [each.told() for each in memories_again] == [each.told() for each in memories]
    assert again.state_digest() == uninterrupted.state_digest()


@pytest.mark.parametrize("fit", FITS)
def test_an_attribute_that_stays_is_the_scripts(fit, tmp_path):
    only_if_installed(fit)
    with pytest.raises(Crash):
        fit(tmp_path, 8)

    def change(memory):
        memory.threshold = 0.5

    assert fit(tmp_path, change=change)[1][0].threshold == 0.5


@pytest.mark.parametrize("fit", FITS)
def test_what_cannot_be_saved_is_named(fit, tmp_path):
    only_if_installed(fit)

    def change(memory):
        memory.stream = iter(range(1000))

    with pytest.raises(Crash):
        fit(tmp_path, 8, change)
    held, _ = fit(tmp_path, change=change)
    assert held.last_resume.verdict == "exact but for: Remembers.stream"


def metrics_of_torch(memory):
    import torch
    import torchmetrics

    class Doubled(torchmetrics.MeanMetric):
        def update(self, value):
            self.last = float(value)
            super().update(2 * torch.as_tensor(value))

    memory.mean = torchmetrics.MeanMetric()
    memory.metrics = [Doubled(), {"cat": torchmetrics.CatMetric()}]
    both = {"sum": torchmetrics.SumMetric(), "max": torchmetrics.MaxMetric()}
    memory.several = torchmetrics.MetricCollection(both)
    memory.metrics_there = lambda: [memory.mean, memory.metrics[0], memory.metrics[1]["cat"], memory.several]


def metrics_of_keras(memory):
    import keras

    class Doubled(keras.metrics.Mean):
        def update_state(self, values, sample_weight=None):
            self.last = float(values)
            return super().update_state(2 * values, sample_weight)

    memory.mean = keras.metrics.Mean()
    memory.metrics = [Doubled(), {"sum": keras.metrics.Sum()}]
    memory.weight = keras.Variable(1.0)
    memory.noise = keras.random.SeedGenerator(3)
    memory.metrics_there = lambda: [memory.mean, memory.metrics[0], memory.metrics[1]["sum"]]


def fit_with_metrics(fit, directory, crash_at=None):
    """What the metrics of the callback tell at the end."""
    seen: list[Any] = []

    def change(memory):
        (metrics_of_keras if fit is keras else metrics_of_torch)(memory)
        there = memory.metrics_there
        remember = memory.remember

        def with_metrics():
            remember()
            for each in there():
                (each.update_state if fit is keras else each.update)(float(memory.count))
            if fit is keras:
                import keras as library

                memory.weight.assign(memory.weight + library.random.normal((), seed=memory.noise))

        memory.remember = with_metrics
        seen.append(memory)

    held, _ = fit(directory, crash_at, change)
    memory = seen[0]
    told = [str(each.result() if fit is keras else each.compute()) for each in memory.metrics_there()]
    last = memory.metrics[0].last
    return held, [told, last, str(memory.weight.value) if fit is keras else memory.mean._update_count]


@pytest.mark.medium
@pytest.mark.parametrize("fit", FITS)
def test_metrics_that_a_callback_holds_come_back(fit, tmp_path):
    only_if_installed(fit)
    uninterrupted, told = fit_with_metrics(fit, tmp_path / "a")
    with pytest.raises(Crash):
        fit_with_metrics(fit, tmp_path / "b", 8)
    again, told_again = fit_with_metrics(fit, tmp_path / "b")
    assert told_again == told
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted.state_digest()
