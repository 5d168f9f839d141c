"""What datasets of a script's own hold in memory is compared at a resume, and what training has changed in them is not."""

from __future__ import annotations

import os
import time
from collections import UserDict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from holdfast.data import batches_of, differences_of

NUM_SAMPLES = 300


class Own(TorchDataset[Any]):
    """Of a script; nobody may call `__getitem__` to compare."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("the script's code was called")


class Duck:
    def __init__(self, **held: Any) -> None:
        vars(self).update(held)

    __len__, __getitem__ = Own.__len__, Own.__getitem__


@dataclass
class Store:
    rows: Any
    name: str = "store"


@dataclass
class Config:
    lr: float = 0.1
    epochs: int = 3
    folders: list[str] = field(default_factory=list)


class Slots:
    __slots__ = ("rows",)

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    __len__, __getitem__ = Own.__len__, Own.__getitem__


def differences(before: Any, now: Any) -> list[str]:
    """At a resume in another life, in which `now` is the dataset."""
    return differences_of(about(before), about(now))


def about(dataset: Any) -> dict[str, Any]:
    return batches_of(DataLoader(dataset), raw=True).describe()


def numbers(other: float = 0.0) -> np.ndarray:
    return np.arange(NUM_SAMPLES, dtype=np.float32) + np.float32(other)


def texts(other: float = 0.0) -> list[str]:
    return [f"text {index + other}" for index in range(NUM_SAMPLES)]


def frame(other: float = 0.0) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"x": numbers(other), "text": texts()})


def sparse(other: float = 0.0) -> Any:
    return pytest.importorskip("scipy.sparse").csr_matrix(np.diag(numbers(other)))


def hub(other: float = 0.0) -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict({"x": numbers(other)})


def images(other: float = 0.0) -> list[Any]:
    image = pytest.importorskip("PIL.Image")
    return [image.fromarray(np.full((2, 2), index + other, np.uint8)) for index in range(20)]


HELD = {
    "array": numbers,
    "tensor": lambda other=0.0: torch.from_numpy(numbers(other)),
    "half": lambda other=0.0: torch.from_numpy(numbers(other)).bfloat16(),
    "transposed": lambda other=0.0: torch.from_numpy(numbers(other)).reshape(3, 100).T,
    "texts": texts,
    "text": lambda other=0.0: "\n".join(texts(other)),
    "bytes": lambda other=0.0: numbers(other).tobytes(),
    "objects": lambda other=0.0: np.array(texts(other), object),
    "pairs": lambda other=0.0: [*zip(texts(), numbers(other), strict=True)],
    "lists": lambda other=0.0: [texts(), texts(other)],
    "columns": lambda other=0.0: {"x": numbers(other), "y": texts()},
    "encoded": lambda other=0.0: UserDict({"x": numbers(other)}),
    "by place": lambda other=0.0: dict(enumerate(texts(other))),
    "store": lambda other=0.0: Store(numbers(other)),
    "stores": lambda other=0.0: [Store(numbers()), Store(numbers(other))],
    "tensors": lambda other=0.0: TensorDataset(torch.from_numpy(numbers(other))),
    "own": lambda other=0.0: Own(x=numbers(other)),
    "slots": lambda other=0.0: Slots(numbers(other)),
    "frame": frame,
    "sparse": sparse,
    "hub": hub,
    "images": images,
    "seed": lambda other=0.0: int(other),
    "share": lambda other=0.0: 0.5 + other,
    "split": lambda other=0.0: "test" if other else "train",
}


@pytest.mark.parametrize("kind", [Own, Duck])
@pytest.mark.parametrize("make", HELD.values(), ids=HELD.keys())
def test_other_values_are_named_and_the_same_are_not(kind, make):
    assert differences(kind(held=make()), kind(held=make())) == []
    (said,) = differences(kind(held=make()), kind(held=make(other=1.0)))
    assert said.startswith("the data's values have changed: held")


def test_of_large_data_places_are_read_everywhere():
    def large(at: int | None = None) -> Own:
        rows = np.zeros((4096, 16 << 10), np.uint8)
        if at is not None:
            rows[at : at + 64] = 1
        return Own(rows=rows)

    assert differences(large(), large()) == []
    for at in (0, 2000, 4032):
        assert differences(large(), large(at)) == ["the data's values have changed: rows"]


@pytest.mark.parametrize(
    "around",
    [
        lambda dataset: Subset(dataset, range(10)),
        lambda dataset: ConcatDataset([TensorDataset(torch.zeros(3)), dataset]),
        lambda dataset: Subset(ConcatDataset([dataset, dataset]), [1]),
        lambda dataset: Own(inner=dataset),
    ],
)
def test_datasets_within_others_are_compared(around):
    assert differences(around(Own(x=numbers())), around(Own(x=numbers()))) == []
    (said,) = differences(around(Own(x=numbers())), around(Own(x=numbers(1))))
    assert said.startswith("the data's values have changed: ")
    assert said.endswith("x")


def test_a_subset_of_other_rows_is_named():
    def part(start: int) -> Subset[Any]:
        return Subset(Own(x=numbers()), [*range(start, start + 10)])

    assert differences(part(0), part(1)) == ["the data's values have changed: indices"]


NO_DATA = {
    "config": (Config(), Config(lr=0.2, epochs=5)),
    "options": ({"lr": 0.1, "epochs": 3}, {"lr": 0.2, "epochs": 5}),
    "namespace": (SimpleNamespace(epochs=3), SimpleNamespace(epochs=5)),
    "folder": ("/scratch/1/data", "/scratch/2/data"),
    "files": ([f"/scratch/1/{i}.png" for i in range(400)], [f"/scratch/2/{i}.png" for i in range(400)]),
    "made at": (time.time() - 3600, time.time()),
    "ticks": (12.123456789, 13.987654321),
    "function": (len, max),
    "model": (torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)),
    "device": (torch.device("cpu"), torch.device("meta")),
    "handle": (os, np),
}


@pytest.mark.parametrize(("before", "now"), NO_DATA.values(), ids=NO_DATA.keys())
def test_what_is_no_data_makes_no_difference(before, now):
    assert differences(Own(x=numbers(), held=before), Own(x=numbers(), held=now)) == []


def test_what_changes_while_it_trains_makes_no_difference():
    trained, fresh = (
        Own(x=numbers(), calls=0, cache={}, seen=[], marks=np.zeros(9), inner=Store([])) for _ in range(2)
    )
    source = batches_of(DataLoader(trained), raw=True)
    trained.calls += 1
    trained.cache.update(dict.fromkeys(range(500), "cached"))
    trained.seen.extend(range(500))
    trained.marks[3] = 1
    trained.inner = Store(numbers())
    then = source.describe()
    assert differences_of(then, about(fresh)) == []
    assert differences_of(then, about(Own(x=numbers(1)))) == ["the data's values have changed: x"]


def test_a_loader_made_anew_knows_what_its_dataset_was_at_first():
    trained = Own(x=numbers(), seen=numbers())
    first = batches_of(DataLoader(trained), raw=True)
    trained.seen += 1
    again = about(trained)
    assert first.describe()["attributes"]["seen"] is again["attributes"]["seen"] is None
    assert differences_of(again, about(Own(x=numbers(), seen=numbers()))) == []
    assert about(Subset(trained, [0]))["attributes"]["dataset.seen"] is None


def test_samples_that_are_appended_while_it_trains_make_no_difference():
    memories: list[Any] = [(0.0, 1)]
    source = batches_of(DataLoader(memories), raw=True)
    memories += [(1.0, 2)] * 50
    assert source.describe()["digest"] is None
    assert differences_of(source.describe(), about([(0.0, 1)])) == [
        "the data's size was 51 and is 1",
        "the data's num batches was 51 and is 1",
    ]


def test_labels_that_are_written_while_it_trains_make_no_difference():
    trained, fresh = (TensorDataset(torch.zeros(100), torch.zeros(100)) for _ in range(2))
    source = batches_of(DataLoader(trained), raw=True)
    trained.tensors[1].fill_(3)
    assert differences_of(source.describe(), about(fresh)) == []


class Stream(IterableDataset[Any]):
    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self):
        yield from self.rows


class Batches:
    __init__, __iter__ = Stream.__init__, Stream.__iter__


@pytest.mark.parametrize(
    "data",
    [
        lambda other: DataLoader(Stream(numbers(other)), batch_size=2),
        lambda other: [numbers(), numbers(other)],
        lambda other: Batches(numbers(other)),
    ],
    ids=["stream", "batches", "loader of one's own"],
)
def test_data_that_are_only_iterated_are_compared(data):
    before, same, now = (
        batches_of(data(other), raw=True, allow_reread=True).describe() for other in (0, 0, 1)
    )
    assert differences_of(before, same) == []
    (said,) = differences_of(before, now)
    assert said.startswith("the data's values have changed")
