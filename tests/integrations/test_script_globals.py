"""What functions of the script that a framework calls keep in globals and closures comes back, or is named."""

from __future__ import annotations

import functools
import importlib.util
import io
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast import Checkpointing, Write
from holdfast.errors import UsageError
from tests.support.integrations import globals_elsewhere as elsewhere
from tests.support.integrations.crashing import Crash, beats

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

history: list[float] = []
seen: deque[int] = deque(maxlen=3)
counter = 0
table = np.zeros(3)
draws = np.random.default_rng(0)
threshold = 1.0
stream: Any = None
beat: Callable[[], None] = beats(None)


class Counts:
    """What a class itself has is one for all."""

    calls = 0
    sizes: list[int] = []  # noqa: RUF012


def remember(size: float, kept: list[float] = []) -> float:  # noqa: B006
    """What a function keeps: in an attribute, and in a default."""
    remember.calls = getattr(remember, "calls", 0) + 1  # type: ignore[attr-defined]
    Counts.calls += 1
    Counts.sizes.append(Counts.calls)
    kept.append(size)
    return remember.calls + sum(Counts.sizes) + len(kept)  # type: ignore[attr-defined]


def start(crash_at: int | None, *, has_stream: bool) -> None:
    """The globals as a new process would make them."""
    global counter, stream, beat, draws
    history.clear()
    seen.clear()
    table[:] = 0
    counter, draws = 0, np.random.default_rng(0)
    stream, beat = iter(range(1000)) if has_stream else None, beats(crash_at)
    elsewhere.calls, elsewhere.sizes[:] = 0, [1.0]
    Counts.calls = 0
    Counts.sizes.clear()
    remember.__defaults__[0].clear()
    vars(remember).clear()


def factor() -> float:
    """By what the training multiplies its loss: all that was kept decides it."""
    global counter
    beat()
    counter += 1
    seen.append(counter)
    table[counter % 3] += draws.normal()
    history.append(float(table.sum()))
    if stream is not None:
        next(stream)
    size = elsewhere.count() + len(history) + sum(seen) + table.sum()
    size += remember(float(size))
    return threshold + 0.01 * abs(float(size))


def told() -> list[Any]:
    others = elsewhere.calls, [*elsewhere.sizes], Counts.calls, [*Counts.sizes], vars(remember).copy()
    return [counter, list(seen), list(history), table.tolist(), *others]


LOG = logging.getLogger("script")
LOCK, EVENT = threading.Lock(), threading.Event()
CONFIG = SimpleNamespace(scale=1.0, names=["a", "b"])
WRITTEN, FOLDER = io.StringIO(), Path("unused")
NUMBERS, BIG = range(5), np.ones((500, 500))
began_s = time.perf_counter()
pool = ThreadPoolExecutor(1)
compiled = re.compile("a")


@functools.lru_cache
def scale() -> float:
    return CONFIG.scale


def harmless() -> float:
    """Changes nothing that decides anything."""
    global began_s
    beat()
    began_s = time.perf_counter()
    with LOCK:
        LOG.debug("%s %s", FOLDER, compiled)
        WRITTEN.write("a line")
    EVENT.set()
    return scale() + sum(NUMBERS) * BIG[0, 0] * pool.submit(scale).result() * 0.01


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def closing_over(kept: list[float]) -> Callable[[], float]:
    """A function of a training whose own variables are in no frame of the stack."""
    turns = 0

    def own_factor() -> float:
        nonlocal turns
        turns += 1
        kept.append(factor())
        return sum(kept) / turns

    return own_factor


def lightning(directory, ignored=(), **options):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    own_factor = closing_over(kept := [])

    class Model(Small):
        @torch_no_op
        def training_step(self, batch, index):
            return super().training_step(batch, index) * own_factor()

    pl.seed_everything(1, verbose=False)
    held = HoldfastCallback(directory, checkpointing=policy(), **options)
    held.ignore(*ignored)
    trainer(held, max_epochs=2).fit(Model(), *loaders())
    return held.last_resume, held.state_digest(), kept


def torch_no_op(function):
    """As decorators of libraries do: what is called is not the script's own function."""
    import torch

    return torch.enable_grad()(function)


def transformers(directory, ignored=(), **options):
    from transformers import Trainer

    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases import transformers_case as cases

    own_factor = closing_over(kept := [])

    def losing(outputs, labels, num_items_in_batch=None):
        logits = outputs["logits"]
        return own_factor() * logits.square().mean()

    made: Trainer = cases.trainer(directory, num_train_epochs=1)
    made.compute_loss_func = losing
    held = hold(made, checkpointing=policy(), **options)
    held.ignore(*ignored)
    made.train()
    return held.last_resume, held.state_digest(), kept


def keras(directory, ignored=(), **options):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import compiled, fit

    own_factor = closing_over(kept := [])

    def losing(wanted, given):
        return own_factor() * keras.losses.mean_squared_error(wanted, given)

    model = compiled()
    model.compile("adam", losing)
    held = HoldfastCallback(directory, checkpointing=policy(), **options)
    held.ignore(*ignored)
    fit(model, [held], epochs=2)
    return held.last_resume, held.state_digest(), kept


def modularml(directory, **options):
    from tests.support.integrations import modularml_experiment as small  # isort: skip; it silences ModularML

    import modularml as mml
    from modularml.samplers import SimpleSampler
    from modularml.utils.errors.exceptions import LossError

    from holdfast.integrations import modularml

    own_factor = closing_over(kept := [])

    def losing(outputs, targets):
        return own_factor() * (outputs - targets).square().mean()

    modularml.enable(directory, **options)
    try:
        made = small.experiment()
        loss = mml.AppliedLoss(
            loss=mml.Loss(losing, backend="torch"),
            on="head",
            inputs=["outputs", "targets"],
            label="loss",
        )
        phase = mml.TrainPhase.from_split(
            "train",
            split="train",
            sampler=SimpleSampler(batch_size=4, shuffle=True, seed=2),
            losses=[loss],
            n_epochs=2,
            checkpointing=policy(),
        )
        try:
            small.run_phase(made, phase)
        except LossError as err:
            raise Crash from err
        return modularml.last_resume(made), modularml.state_digest(made), kept
    finally:
        modularml.disable()


def boosted_data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(80, 5))
    return x, x.sum(1)


def xgboost(directory, **options):
    import xgboost

    from holdfast.integrations.xgboost import train

    own_factor = closing_over(kept := [])

    def gradients(given, data):
        return own_factor() * (given - data.get_label()), np.ones_like(given)

    data = xgboost.DMatrix(*boosted_data())
    params = {"max_depth": 2, "eta": 0.05, "nthread": 1}
    asked = {"num_boost_round": 20, "obj": gradients, "checkpointing": policy(), **options}
    done = train(params, data, directory, **asked)
    return done.last_resume, done.state_digest(), kept


def lightgbm(directory, **options):
    import lightgbm

    from holdfast.integrations.lightgbm import train

    own_factor = closing_over(kept := [])

    def gradients(given, data):
        return own_factor() * (given - data.get_label()), np.ones_like(given)

    data = lightgbm.Dataset(*boosted_data(), free_raw_data=False)
    params = {
        "num_leaves": 4,
        "learning_rate": 0.05,
        "verbose": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "objective": gradients,
    }
    asked = {"num_boost_round": 20, "checkpointing": policy(), **options}
    done = train(params, data, directory, **asked)
    return done.last_resume, done.state_digest(), kept


WITH_CALLBACKS = [lightning, transformers, pytest.param(keras, marks=pytest.mark.leaves_threads)]
TRAININGS = [
    *WITH_CALLBACKS,
    modularml,
    xgboost,
    lightgbm,
]


def run(training, directory, crash_at=None, *, has_stream=False, **options):
    if importlib.util.find_spec(training.__name__) is None:
        pytest.skip(f"{training.__name__} is not installed")
    start(crash_at, has_stream=has_stream)
    return training(directory, **options)


@pytest.mark.parametrize("training", TRAININGS)
def test_globals_and_closures_that_decide_a_training_come_back(training, tmp_path):
    report, digest, kept = run(training, tmp_path / "a")
    assert report is None
    uninterrupted = told()
    with pytest.raises(Crash):
        run(training, tmp_path / "b", 8)
    report, digest_again, kept_again = run(training, tmp_path / "b")
    assert report.verdict == "exact"
    assert told() == uninterrupted
    assert kept_again == kept
    assert digest_again == digest
    assert len(kept) > 8


@pytest.mark.parametrize("training", TRAININGS)
def test_a_global_iterator_is_named(training, tmp_path, caplog):
    with pytest.raises(Crash):
        run(training, tmp_path, 8, has_stream=True)
    said = [each.getMessage() for each in caplog.records if "stream" in each.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("not saved: stream (range_iterator) is an iterator")
    assert "state_dict" in said[0]
    report, *_ = run(training, tmp_path, has_stream=True)
    assert report.verdict == "exact but for: stream"


@pytest.mark.parametrize("training", TRAININGS)
def test_what_only_looks_like_a_variable_is_not_named(training, tmp_path, caplog, monkeypatch):
    """Constants, loggers, locks, files, displays, clocks, other iterables: what a right script has among its globals."""
    monkeypatch.setitem(globals(), "factor", harmless)
    with pytest.raises(Crash):
        run(training, tmp_path, 8)
    report, *_ = run(training, tmp_path)
    assert report.verdict == "exact"
    assert not [each for each in caplog.records if each.getMessage().startswith("not saved")]


@pytest.mark.parametrize("training", [lightgbm, xgboost])
def test_they_can_be_only_named_left_alone_or_ignored(training, tmp_path):
    for mode, then in (("watch", "but for: kept, turns"), ("off", "but for: the script's variables")):
        with pytest.raises(Crash):
            run(training, tmp_path / mode, 8, variables=mode)
        report, *_ = run(training, tmp_path / mode, variables=mode)
        assert report.verdict.startswith(f"exact {then}")
        assert counter == 13
    with pytest.raises(UsageError, match='variables is "save", "watch" or "off"'):
        run(training, tmp_path / "other", variables="all")


@pytest.mark.parametrize("training", WITH_CALLBACKS)
def test_a_callback_ignores_what_it_is_told_to(training, tmp_path):
    ignored = ("stream", "count*")
    with pytest.raises(Crash):
        run(training, tmp_path, 8, has_stream=True, ignored=ignored)
    report, _, kept = run(training, tmp_path, has_stream=True, ignored=ignored)
    assert report.verdict == "exact"
    assert counter < len(kept)  # it began again
    with pytest.raises(UsageError, match="ignore takes names"):
        run(training, tmp_path, ignored=[3])
