"""Loaders of torchdata.nodes resume where they were, or their verdict names why not."""

from __future__ import annotations

import random
import time

import pytest

pytest.importorskip("torchdata.nodes")

import torch
import torchdata.nodes as tn
from torch.utils.data import RandomSampler, SequentialSampler

from holdfast.data import batches_of, foreign_state


class Shuffled:
    """A sampler without a state, which draws from a generator of its own."""

    def __init__(self) -> None:
        self.stream = torch.Generator().manual_seed(7)

    def __len__(self) -> int:
        return 12

    def __iter__(self):
        yield from torch.randperm(12, generator=self.stream).tolist()


class Noise:
    """A transform with a generator of its own."""

    def __init__(self) -> None:
        self.draws = random.Random(3)

    def __call__(self, index: int) -> float:
        return index + self.draws.random()


def of(sampler, transform=float, *, reads_ahead=False):
    node = tn.Batcher(tn.Mapper(tn.SamplerWrapper(sampler), transform), 2)
    return tn.Loader(tn.Prefetcher(node, 2) if reads_ahead else node)


LOADERS = {
    "of a generator of the script": lambda: of(RandomSampler(range(12), generator=torch.Generator().manual_seed(1))),
    "of the global generator": lambda: of(RandomSampler(range(12))),
    "without a state": lambda: of(Shuffled()),
    "with a transform that draws": lambda: of(SequentialSampler(range(12)), Noise()),
    "that reads ahead": lambda: of(Shuffled(), reads_ahead=True),
}  # fmt: skip


def read(loader, num=None, epoch=0, at=None):
    """All batches from `at` on (a state and the global generator's), and at the end or after `num` of them where it is."""
    source, given = batches_of(loader, raw=True), []
    if at is None:
        torch.manual_seed(0)
        batches = source.begin(0)
    else:
        state, stream = at
        batches, epoch = source.resume(state), state["epoch"]
        torch.set_rng_state(stream)
    while epoch < 3:
        for batch in batches:
            given.append(batch)
            if len(given) == num:
                return given, (source.get_state(), torch.get_rng_state()), source
        epoch += 1
        if epoch < 3:
            batches = source.begin(epoch)
    return given, (source.get_state(), torch.get_rng_state()), source


@pytest.mark.parametrize(
    ("kind", "is_asked"), [*((each, False) for each in LOADERS), *((each, True) for each in [*LOADERS][:-1])]
)
def test_a_loader_of_nodes_that_is_left_twice_gives_what_an_uninterrupted_one_does(kind, is_asked):
    make = LOADERS[kind]
    wanted, _, _ = read(make())
    assert len(wanted) == 18
    for first, second in ((1, 4), (2, 8), (6, 6), (8, 5)):
        given, at, _ = read(make(), first)
        for num in (second, None):
            loader = make()
            if is_asked:
                loader.state_dict()  # after which it would give the iterator that was made for that
            more, at, source = read(loader, num, at=at)
            given += more
            assert source.exactness == (foreign_state(source) or "exact")
            assert (foreign_state(source) is None) == (kind not in ("without a state", "that reads ahead"))
            assert source.differences == []
        assert given == wanted


def test_a_generator_from_which_a_loader_has_drawn_ahead_is_named():
    loader = of(SequentialSampler(range(12)), Noise(), reads_ahead=True)
    source = batches_of(loader, raw=True)
    batches = source.begin(0)
    next(batches)
    for _ in range(100):  # until its thread has begun
        source.get_state()
        if source.exactness != "exact":
            break
        time.sleep(0.05)
    assert source.exactness.startswith("not exact: the loader reads ahead, and draws from loader.root")
