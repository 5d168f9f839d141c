"""Which loaders' states are believed, and which are somebody else's, to be measured."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torchdata.nodes")

import torch
import torchdata.nodes as tn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from torchdata.stateful_dataloader import StatefulDataLoader

from holdfast.data import batches_of, digest_of_batch, foreign_state
from tests.support.data_cases import CASES, Remembering, Samples, Stream

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 under torch 2.13


class OwnSampler(SequentialSampler):
    def state_dict(self):
        return {}

    def load_state_dict(self, state) -> None: ...


class OwnLoader(StatefulDataLoader):
    def state_dict(self):
        return super().state_dict()


class Renamed(StatefulDataLoader):
    """All that matters is torchdata's."""


class OwnNode(tn.BaseNode):
    def reset(self, initial_state=None) -> None:
        super().reset(initial_state)
        self.at = (initial_state or {"at": 0})["at"]

    def next(self):
        self.at += 1
        if self.at > 4:
            raise StopIteration
        return self.at

    def get_state(self):
        return {"at": self.at}


KNOWN = {
    **{name: CASES[name] for name in ("shuffle", "own", "list", "stateful shuffle", "stateful shuffle, generator")},
    "a subclass": lambda: batches_of(Renamed(Samples(), batch_size=2), raw=True),
    "nodes": lambda: batches_of(tn.Loader(tn.Batcher(tn.SamplerWrapper(SequentialSampler(range(6))), 2)), raw=True),
    "a plain loader over a sampler with a state": lambda: batches_of(
        DataLoader(Samples(), sampler=OwnSampler(range(6))), raw=True
    ),
    "a loader whose indices are compared": lambda: batches_of(
        OwnLoader(Samples(), sampler=OwnSampler(range(6))), raw=True
    ),
}  # fmt: skip
FOREIGN = {
    "Remembering": CASES["stateful dataset"],
    "Stream": lambda: batches_of(DataLoader(Stream(), batch_size=2), raw=True),
    "OwnLoader": lambda: batches_of(OwnLoader(Remembering()), raw=True),
    "OwnNode": lambda: batches_of(tn.Loader(tn.Batcher(OwnNode(), 2)), raw=True),
    "OwnSampler": lambda: batches_of(tn.Loader(tn.SamplerWrapper(OwnSampler(range(6)))), raw=True),
    "Stream ": lambda: batches_of(tn.Loader(tn.IterableWrapper(Stream())), raw=True),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_state_that_is_known_to_hold_all_is_exact(name):
    source = KNOWN[name]()
    assert source.exactness == "exact"
    assert foreign_state(source) is None


@pytest.mark.parametrize("name", FOREIGN)
def test_a_state_of_somebody_elses_making_is_named(name):
    source = FOREIGN[name]()
    kind = {"OwnLoader": "OwnLoader and Remembering"}.get(name, name.strip())
    said = f"whether all that decides the next batch comes back with {kind} is not known"
    assert source.exactness == said
    assert foreign_state(source) == said


class Hidden(SequentialSampler):
    """It has no state, and an order of its own."""

    def __iter__(self):
        yield from torch.randperm(6, generator=torch.Generator()).tolist()


def test_a_sampler_of_nodes_that_is_read_again_is_named_unless_it_is_known():
    def source(sampler):
        return batches_of(tn.Loader(tn.SamplerWrapper(sampler)), raw=True)

    assert "comes back with Hidden is" in source(Hidden(range(6))).exactness
    for known in (RandomSampler(range(6)), range(6), [1, 2], np.arange(3)):
        assert source(known).exactness == "exact"


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class Plain:
    def __init__(self, value: int) -> None:
        self.value = value


class Bytes(bytearray):
    """It has attributes, and what it holds is in none of them."""


@pytest.mark.parametrize(
    "make",
    [
        lambda x: {"x": torch.full((2,), x), "y": [np.float32(x), "text", None]},
        lambda x: (np.arange(3) + x, torch.tensor(x)),
        lambda x: Plain(x),
        lambda x: x,
    ],
)
def test_batches_are_told_apart_by_what_they_hold(make):
    assert digest_of_batch(make(1)) == digest_of_batch(make(1))
    assert None not in (digest_of_batch(make(1)), digest_of_batch(make(2)))
    assert digest_of_batch(make(1)) != digest_of_batch(make(2))


@pytest.mark.parametrize(
    "what",
    [
        Slotted(1),
        Bytes(b"1"),
        {1, 2},
        memoryview(b"1"),
        np.array([{1}]),
        torch.eye(2).to_sparse(),
        print,
        int,
    ],
    ids=["slots", "bytes", "set", "memoryview", "objects", "sparse", "function", "class"],
)
def test_a_batch_that_holds_what_is_not_read_has_no_digest(what):
    assert digest_of_batch({"x": 1, "more": [what]}) is None
