"""Data of other values, or another batch size, are named at the resume where a framework reads them, too."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
import torch

from holdfast import Checkpointing, Write
from tests.support.integrations.crashing import Crash, beats

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def lightning(directory, crash_at=None, *, other=False):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    data = loaders()
    data[0].dataset.tensors[1].add_(float(other))
    trainer(callback, max_epochs=2).fit(Small(beats(crash_at)), *data)
    return callback.last_resume


def transformers(directory, crash_at=None, *, other=False):
    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    made = trainer(directory, Beats(beats(crash_at)), num_train_epochs=1)
    numbers = torch.tensor(made.train_dataset)
    made.data_collator = lambda samples: dict.fromkeys(
        ("input_ids", "labels"), torch.stack([each for (each,) in samples])
    )
    made.train_dataset = torch.utils.data.TensorDataset((numbers + other) % 20)
    made.eval_dataset = made.train_dataset
    held = hold(made, checkpointing=policy())
    made.train()
    return held.last_resume


def accelerate(directory, crash_at=None, *, other=False):
    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared, step

    accelerator, model, optimizer, scheduler, loader, _ = prepared()
    loader.dataset.tensors[1].add_(float(other))
    beat = beats(crash_at)
    with hold(accelerator, directory, checkpointing=policy()) as run:
        for _ in run.epochs(2):
            for batch in run.batches(loader):
                beat()
                step(accelerator, model, optimizer, scheduler, batch)
    return run.last_resume


def keras(directory, crash_at=None, *, other=False):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras.callbacks import LambdaCallback

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import compiled

    model, beat = compiled(), beats(crash_at)
    held = HoldfastCallback(directory, checkpointing=policy())
    x = np.linspace(0, 1, 96, dtype="float32").reshape(16, 6)
    counting = LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())
    model.fit(x + other, x[:, :1], batch_size=4, epochs=2, verbose=0, callbacks=[held, counting])
    return held.last_resume


FITS = [
    lightning,
    transformers,
    accelerate,
    pytest.param(keras, marks=pytest.mark.leaves_threads),
]


@pytest.fixture(params=FITS)
def fit(request):
    if importlib.util.find_spec(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed")
    return request.param


def test_other_values_of_the_data_are_named(fit, tmp_path):
    with pytest.raises(Crash):
        fit(tmp_path, 5)
    assert fit(tmp_path, other=True).verdict == "not exact: the data's values have changed"


def test_other_values_of_the_data_of_a_training_that_was_complete_are_named(fit, tmp_path):
    fit(tmp_path)
    assert fit(tmp_path).verdict == "exact"
    assert fit(tmp_path, other=True).verdict == "not exact: the data's values have changed"
