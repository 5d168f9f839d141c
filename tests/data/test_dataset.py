"""Datasets, the order of their rows, and randomness that does not depend on who draws it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from holdfast.data import Dataset, ResumableSampler, order, sample_rng
from holdfast.errors import UsageError

seeds = st.integers(0, 2**70)
ORDER_OF_EPOCH_0 = [7, 2, 0, 4, 3, 5, 6, 1]
ORDER_OF_EPOCH_1 = [3, 4, 0, 6, 5, 2, 7, 1]


@given(seeds, st.integers(0, 10**6), st.integers(0, 300))
def test_an_order_visits_every_sample_once(seed, epoch, size):
    assert sorted(order(seed, epoch, size)) == list(range(size))
    assert np.array_equal(order(seed, epoch, size), order(seed, epoch, size))


def test_every_epoch_and_seed_has_an_order_of_its_own():
    orders = {tuple(order(seed, epoch, 20)) for seed in (0, 1, 2**32, 2**40) for epoch in range(5)}
    assert len(orders) == 20
    assert order(0, 3, 4, shuffle=False).tolist() == [0, 1, 2, 3]


def test_an_order_is_the_same_forever():
    """A change here would break every resume of an older checkpoint."""
    assert order(0, 0, 8).tolist() == ORDER_OF_EPOCH_0
    assert order(0, 1, 8).tolist() == ORDER_OF_EPOCH_1


def test_a_samples_randomness_depends_on_where_it_is_and_on_nothing_else():
    draws = {sample_rng(*where).random() for where in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]}
    assert len(draws) == 4
    assert sample_rng(0, 1, 2).random() == sample_rng(0, 1, 2).random()
    for wrong in [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]:
        with pytest.raises(UsageError, match="cannot be negative"):
            sample_rng(*wrong)


@given(st.integers(1, 40), st.data())
def test_a_sampler_resumes_where_its_state_says(size, data):
    sampler = ResumableSampler(size, seed=3)
    sampler.set_epoch(2)
    complete, used = list(sampler), data.draw(st.integers(0, size))
    fresh = ResumableSampler(size, seed=3)
    fresh.load_state(sampler.state(used))
    fresh.set_epoch(2)
    assert (list(fresh), len(fresh)) == (complete[used:], size - used)
    fresh.set_epoch(3)
    sampler.set_epoch(3)
    assert list(fresh) == list(sampler) != complete or size < 4


def test_a_sampler_works_in_a_loader_of_torch():
    sampler = ResumableSampler(10, seed=0)
    sampler.load_state(sampler.state(4))
    loader = DataLoader(list(range(10)), sampler=sampler, batch_size=3)
    assert len(loader) == 2
    assert torch.cat(list(loader)).tolist() == list(sampler) == order(0, 0, 10)[4:].tolist()


def test_a_sampler_refuses_a_state_that_is_not_its_own():
    with pytest.raises(UsageError, match="seed=1 and now has 2"):
        ResumableSampler(5, seed=2).load_state(ResumableSampler(5, seed=1).state())
    with pytest.raises(UsageError, match="position 9"):
        ResumableSampler(5, seed=2).load_state(ResumableSampler(5, seed=2).state(9))


def small(**columns):
    return Dataset({"pixels": np.arange(30.0).reshape(10, 3)}, digit=torch.arange(10), **columns)


def test_columns_are_the_arrays_given():
    pixels = np.zeros((4, 2))
    dataset = Dataset(pixels=pixels, name=["a", "b", "c", "d"])
    assert dataset["pixels"] is pixels
    assert dataset.columns == ("pixels", "name")
    assert ("name" in dataset, "nope" in dataset, len(dataset)) == (True, False, 4)
    assert dataset[-1]["name"] == "d"
    assert repr(dataset) == "Dataset(4 rows; pixels: float64 (2,), name: <U1 ())"


def test_a_selection_is_by_position_slice_or_mask():
    dataset = small()
    picked = dataset.select([7, 2, 2])
    assert picked["digit"].tolist() == [7, 2, 2]
    assert picked.select([1, 0])["digit"].tolist() == [2, 7]
    assert dataset.select(slice(0, 10, 4))["digit"].tolist() == [0, 4, 8]
    assert dataset.select(dataset["pixels"][:, 0] > 20)["digit"].tolist() == [7, 8, 9]
    assert picked[0]["pixels"].tolist() == [21, 22, 23]
    assert isinstance(picked["digit"], torch.Tensor)
    for wrong in ([10], [0.5], [[1]], [True]):
        with pytest.raises(UsageError, match="rows"):
            dataset.select(wrong)


@given(st.integers(5, 60), seeds)
def test_a_split_is_disjoint_and_complete(size, seed):
    parts = Dataset(x=np.arange(size)).split(a=0.5, b=0.3, c=0.2, seed=seed)
    assert list(parts) == ["a", "b", "c"]
    together = [x for part in parts.values() for x in part["x"].tolist()]
    assert sorted(together) == list(range(size))
    assert abs(len(parts["a"]) - size / 2) <= 1


def test_a_split_is_a_function_of_its_seed():
    dataset = small()
    assert (
        dataset.split()["test"]["digit"].tolist()
        == dataset.split(train=0.8, test=0.2)["test"]["digit"].tolist()
    )
    assert len({tuple(dataset.split(seed=seed)["test"]["digit"].tolist()) for seed in range(9)}) > 3
    with pytest.raises(UsageError, match="add up to 1"):
        dataset.split(train=0.8)
    with pytest.raises(UsageError, match="would be empty"):
        dataset.split(a=0.99, b=0.01)


def test_the_digest_is_that_of_the_content():
    assert small().digest == small().digest
    assert small().select(range(10)).digest == small().digest
    assert small().select([1, 0, *range(2, 10)]).digest != small().digest
    assert small().select(range(9)).digest != small().digest
    assert Dataset(a=[1, 2]).digest != Dataset(b=[1, 2]).digest
    assert Dataset(a=[1, 2]).digest != Dataset(a=[1.0, 2.0]).digest
    wide = np.arange(24.0).reshape(4, 6)
    assert Dataset(a=wide[:, ::2]).digest == Dataset(a=wide[:, ::2].copy()).digest
    halves = torch.arange(4).to(torch.bfloat16)
    assert Dataset(a=halves).digest == Dataset(a=halves.clone()).digest


def test_a_digest_in_many_chunks_is_the_digest(monkeypatch):
    complete = small().digest
    monkeypatch.setattr("holdfast.data._dataset._CHUNK_BYTES", 50)
    assert small().digest == small().select(range(10)).digest == complete


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset(), "columns of equal length"),
        (lambda: Dataset(a=[1, 2], b=[1]), "columns of equal length"),
        (lambda: Dataset(a=[]), "no rows"),
        (lambda: Dataset(a=3), "no rows"),
        (lambda: Dataset(a=[object()]), "Python objects"),
        (lambda: small()["nope"], "no column 'nope'; there are 'pixels', 'digit'"),
        (lambda: Dataset.from_pandas(pd.DataFrame({"a": [1]}), "b"), "no columns"),
    ],
)
def test_what_is_no_dataset_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_pandas_frame_becomes_a_dataset():
    frame = pd.DataFrame({"height": [1.0, 2.0], "width": [3.0, 4.0], "name": ["x", "yy"], 5: [1, 2]})
    dataset = Dataset.from_pandas(frame, "name", size=["height", "width"])
    assert dataset["name"].tolist() == ["x", "yy"]
    assert dataset["size"].tolist() == [[1, 3], [2, 4]]
    assert Dataset.from_pandas(frame).columns == ("height", "width", "name", "5")


def test_a_torch_dataset_is_read_into_memory():
    pairs = TensorDataset(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 2]))
    dataset = Dataset.from_torch(pairs, columns=("x", "label"))
    assert dataset["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert dataset["label"].tolist() == [0, 1, 2]
    assert Dataset.from_torch(dataset)["label"].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="batches of 2 items, and columns names 1"):
        Dataset.from_torch(pairs, columns=("x",))
