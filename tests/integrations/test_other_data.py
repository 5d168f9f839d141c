"""Data of other values, or another batch size, are named at the resume where a framework reads them, too."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
import torch

from holdfast import Checkpointing, Run, Write
from tests.support.integrations.crashing import Crash, beats

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


class Own(torch.utils.data.Dataset):
    """As scripts write them: samples in attributes of several kinds, and a counter and a cache that training changes."""

    def __init__(self, *columns, other=False):
        self.columns, self.notes = [each.clone() for each in columns], [f"note {float(other)}"] * 300
        self.calls, self.cache, self.level = 0, {}, 0

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, index):
        self.calls += 1
        self.cache[index, self.calls] = "read"
        return tuple(each[index] for each in self.columns)


def own(loader, *, other, columns=None):
    """The loader over a dataset of a script's own, which holds what its dataset does."""
    columns = loader.dataset.tensors if columns is None else columns
    return torch.utils.data.DataLoader(Own(*columns, other=other), batch_size=loader.batch_size)


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def lightning(directory, crash_at=None, *, other=False, is_own=False):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    data = loaders()
    if is_own:
        data = (own(data[0], other=other), data[1])
    else:
        data[0].dataset.tensors[1].add_(float(other))
    trainer(callback, max_epochs=2).fit(Small(beats(crash_at)), *data)
    return callback.last_resume


def transformers(directory, crash_at=None, *, other=False, is_own=False):
    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    made = trainer(directory, Beats(beats(crash_at)), num_train_epochs=1)
    numbers = torch.tensor(made.train_dataset)
    made.data_collator = lambda samples: dict.fromkeys(
        ("input_ids", "labels"), torch.stack([each for (each,) in samples])
    )
    made.train_dataset = torch.utils.data.TensorDataset((numbers + other * (not is_own)) % 20)
    if is_own:
        made.train_dataset = Own(*made.train_dataset.tensors, other=other)
    made.eval_dataset = made.train_dataset
    held = hold(made, checkpointing=policy())
    made.train()
    return held.last_resume


def accelerate(directory, crash_at=None, *, other=False, is_own=False):
    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared, step

    accelerator, model, optimizer, scheduler, loader, _ = prepared()
    if is_own:
        loader = accelerator.prepare(own(loader, other=other))
    else:
        loader.dataset.tensors[1].add_(float(other))
    beat = beats(crash_at)
    with hold(accelerator, directory, checkpointing=policy()) as run:
        for _ in run.epochs(2):
            for batch in run.batches(loader):
                beat()
                step(accelerator, model, optimizer, scheduler, batch)
    return run.last_resume


def keras(directory, crash_at=None, *, other=False, is_own=False, validation=None):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras.callbacks import LambdaCallback

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import compiled

    model, beat = compiled(), beats(crash_at)
    held = HoldfastCallback(directory, checkpointing=policy())
    x = np.linspace(0, 1, 96, dtype="float32").reshape(16, 6)
    counting = LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())
    if is_own:
        columns = [torch.from_numpy(x), torch.from_numpy(x[:, :1].copy())]
        data = {"x": torch.utils.data.DataLoader(Own(*columns, other=other), batch_size=4), "shuffle": False}
    else:
        data = {"x": x + other, "y": x[:, :1], "batch_size": 4}
    model.fit(**data, validation_data=validation, epochs=2, verbose=0, callbacks=[held, counting])
    return held.last_resume


def run(directory, crash_at=None, *, other=False, is_own=False):
    columns = [torch.arange(16.0) + (other and not is_own), torch.ones(16)]
    dataset = Own(*columns, other=other) if is_own else torch.utils.data.TensorDataset(*columns)
    loader, weight, beat = torch.utils.data.DataLoader(dataset, batch_size=4), torch.zeros(1), beats(crash_at)
    with Run(directory, {"weight": weight}, checkpointing=policy()) as held:
        for _ in held.epochs(2):
            for x, y in held.batches(loader):
                beat()
                weight += (x * y).sum()
    return held.last_resume


FITS = [
    lightning,
    transformers,
    accelerate,
    pytest.param(keras, marks=pytest.mark.leaves_threads),
    run,
]


@pytest.fixture(params=FITS)
def fit(request):
    if request.param is not run and importlib.util.find_spec(request.param.__name__) is None:
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


def test_other_values_that_a_dataset_of_the_scripts_own_holds_are_named(fit, tmp_path):
    with pytest.raises(Crash):
        fit(tmp_path, 5, is_own=True)
    changed = fit(tmp_path, is_own=True, other=True)
    assert changed.verdict == "not exact: the data's values have changed: notes"


def test_what_training_changes_in_a_dataset_of_the_scripts_own_makes_no_difference(fit, tmp_path):
    with pytest.raises(Crash):
        fit(tmp_path, 3, is_own=True)
    with pytest.raises(Crash):
        fit(tmp_path, 4, is_own=True)
    assert fit(tmp_path, is_own=True).verdict == "exact"
    assert fit(tmp_path, is_own=True).verdict == "exact"


@pytest.mark.leaves_threads
@pytest.mark.parametrize(
    "data",
    [
        lambda other: (np.full((4, 6), other, np.float32), np.ones((4, 1))),
        lambda other: (np.ones((4, 6)), torch.full((4, 1), other), np.ones(4)),
        lambda other: torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.full((4, 6), other), torch.ones(4, 1))
        ),
        lambda other: torch.utils.data.DataLoader(Own(torch.full((4, 6), other), torch.ones(4, 1))),
    ],
    ids=["inputs", "targets", "loader", "dataset of one's own"],
)
def test_other_values_of_the_data_that_keras_validates_with_are_named(data, tmp_path):
    pytest.importorskip("keras")
    with pytest.raises(Crash):
        keras(tmp_path, 6, validation=data(0.0))
    with pytest.raises(Crash):
        keras(tmp_path, 2, validation=data(0.0))
    assert keras(tmp_path, validation=data(0.0)).verdict == "exact"
    changed = keras(tmp_path, validation=data(1.0)).verdict
    assert changed.startswith("not exact: the validation data's values have changed")
    assert keras(tmp_path).verdict.startswith("not exact: the validation data's kind was ")
