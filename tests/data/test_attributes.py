"""Samplers and datasets that keep something for themselves give the same batches after a resume."""

from __future__ import annotations

import gc
from collections import deque
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import data

from holdfast import Checkpointing, Run, Write
from tests.support.verdicts import WITHOUT_VARIABLES

N_EPOCHS = 4


class CountsEpochs(data.Sampler):
    """Shuffles by a number that it counts itself."""

    def __init__(self) -> None:
        self.epoch, self.seed = 0, 1

    def __len__(self) -> int:
        return 12

    def __iter__(self):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        self.epoch += 1
        yield from order


class Rows(data.Dataset):
    def __init__(self) -> None:
        self.difficulty, self.history = 0, [0]

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int):
        self.history.append(index)
        return torch.tensor([index, self.difficulty, sum(self.history[-3:])])


def go(
    directory: Path,
    loader: Any,
    *,
    cut: tuple[int, int] | None = None,
    is_curriculum: bool = False,
    verdict: str = WITHOUT_VARIABLES,
) -> list[Any]:
    seen = []
    policy = Checkpointing(save_on=["batch_end", "epoch_end"], write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, {"weight": torch.zeros(1)}, checkpointing=policy, variables="off") as run,
    ):
        for epoch in run.epochs(N_EPOCHS):
            if is_curriculum:
                loader.dataset.difficulty = epoch
            if cut == (epoch, -1):
                raise InterruptedError
            for batch in run.batches(loader):
                if cut == (epoch, run.batch):
                    raise InterruptedError
                seen.append((epoch, batch.tolist()))
    if run.last_resume is not None:
        assert run.last_resume.verdict == verdict
    return seen


@pytest.fixture(autouse=True)
def no_workers_are_left():
    yield
    gc.collect()


def counting() -> data.DataLoader:
    return data.DataLoader(Rows(), batch_size=3, sampler=CountsEpochs())


def persistent() -> data.DataLoader:
    return data.DataLoader(Rows(), batch_size=3, num_workers=1, persistent_workers=True)


def workers() -> data.DataLoader:
    return data.DataLoader(Rows(), batch_size=3, num_workers=2)


@pytest.mark.parametrize("cut", [(0, 2), (1, -1), (2, 0), (2, 3), (3, -1)])
def test_counters_of_samplers_and_datasets_come_back(cut, tmp_path):
    uninterrupted = go(tmp_path / "a", counting())
    before = go(tmp_path / "b", counting(), cut=cut)
    assert before + go(tmp_path / "b", counting()) == uninterrupted


class FollowsLosses(data.Sampler):
    """Draws what has been seen least; weights and a rate change in the middle of an epoch."""

    def __init__(self) -> None:
        self.seen, self.rate, self.rng = np.ones(12), 1, np.random.default_rng(3)

    def __len__(self) -> int:
        return 12

    def __iter__(self):
        weights = 1 / self.seen**self.rate
        yield from self.rng.choice(12, size=12, p=weights / weights.sum()).tolist()

    def feedback(self, batch: torch.Tensor) -> None:
        self.seen[batch[:, 0].numpy()] += 1
        self.rate += 1


def weighted(sampler: data.Sampler) -> data.DataLoader:
    return data.DataLoader(data.TensorDataset(torch.arange(12)), batch_size=3, sampler=sampler)


def follow(directory: Path, sampler: Any, cut: tuple[int, int] | None) -> list[Any]:
    torch.manual_seed(0)
    seen, loader = [], weighted(sampler)
    policy = Checkpointing(save_on=["batch_end", "epoch_end"], write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, {"weight": torch.zeros(1)}, checkpointing=policy, variables="off") as run,
    ):
        for epoch in run.epochs(N_EPOCHS):
            for (rows,) in run.batches(loader):
                if cut == (epoch, run.batch):
                    raise InterruptedError
                seen.append(rows.tolist())
                if isinstance(sampler, FollowsLosses):
                    sampler.feedback(rows[:, None])
            if not isinstance(sampler, FollowsLosses):
                sampler.weights = sampler.weights * torch.rand(12, dtype=torch.double)
            if cut == (epoch, -1):
                raise InterruptedError
    return seen


@pytest.mark.parametrize("cuts", [[(0, 2)], [(1, 3), (1, 3)], [(0, 1), (0, 3), (2, 1)], [(3, 2)]])
@pytest.mark.parametrize(
    "make", [FollowsLosses, lambda: data.WeightedRandomSampler(torch.ones(12, dtype=torch.double), 12)]
)
def test_an_order_that_follows_arrays_of_a_sampler_comes_back(make, cuts, tmp_path):
    uninterrupted = follow(tmp_path / "a", make(), None)
    lives = [follow(tmp_path / "b", make(), cut) for cut in [*cuts, None]]
    assert [*chain(*lives)] == uninterrupted


@pytest.mark.parametrize("cut", [(2, -1), (2, 2)])
def test_persistent_workers_keep_the_dataset_as_it_was_when_they_started(cut, tmp_path):
    uninterrupted = go(tmp_path / "a", persistent(), is_curriculum=True)
    assert {row[1] for _, batch in uninterrupted for row in batch} == {0}, "their copy is not told"
    before = go(tmp_path / "b", persistent(), cut=cut, is_curriculum=True)
    after = go(tmp_path / "b", persistent(), is_curriculum=True)
    drop = [
        (epoch, [row[:2] for row in batch]) for epoch, batch in [*before, *after]
    ]  # what workers count is theirs
    assert drop == [(epoch, [row[:2] for row in batch]) for epoch, batch in uninterrupted]


def test_what_persistent_workers_would_see_otherwise_is_named(tmp_path):
    """Nobody can tell a change of the script from one by the script."""
    go(tmp_path, persistent(), cut=(1, -1), is_curriculum=True)
    named = "persistent workers started when loader.dataset.difficulty was 0, and start now with another"
    go(tmp_path, persistent(), is_curriculum=True, verdict=f"not exact: {named}")


def test_what_did_not_change_is_the_scripts(tmp_path):
    go(tmp_path, counting(), cut=(1, 0))
    loader = counting()
    loader.dataset.difficulty = 7
    verdict = "not exact: the data's values have changed: difficulty"
    seen = go(tmp_path, loader, verdict=verdict)
    assert {row[1] for _, batch in seen for row in batch} == {7}


class Collation:
    """Adds what it has counted, in attributes of several kinds, to each batch."""

    def __init__(self) -> None:
        self.number, self.sums, self.latest, self.seen = 0, np.zeros(2), deque([0], 3), {0}
        self.factor = torch.ones(2)
        self.dice = np.random.default_rng(1)

    def __call__(self, rows: list[torch.Tensor]) -> torch.Tensor:
        self.number += 1
        self.sums += self.number
        self.latest.append(self.number)
        self.seen.add(self.number)
        self.factor *= 1.5
        more = sum(self.latest) + len(self.seen) + float(self.sums[1]) + int(self.dice.integers(100))
        return torch.stack(rows) + more + self.factor[0]


def closing_over(form: str) -> Any:
    """A collation that keeps its count in a variable of the function around it."""
    number, counts = 0, [0]

    def collate(rows: list[torch.Tensor]) -> torch.Tensor:
        nonlocal number
        number += 1
        counts[0] += number
        return torch.stack(rows) + (number if form == "a number" else counts[0])

    return collate


class WithParts(Rows):
    """Its samples depend on what an object within it, an array and a tensor hold."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.uses, self.weights = Collation(), np.zeros(12, int), torch.ones(12)

    def __getitem__(self, index: int):
        self.part.number += 1
        self.uses[index] += 1
        self.weights[index] *= 2
        return torch.tensor([index, self.part.number, self.uses[index], self.weights[index]])


class CountsItsUses(data.DataLoader):
    uses = 0

    def __iter__(self):
        self.uses += 1
        self.dataset.difficulty = self.uses
        return super().__iter__()


def shuffled(kind: Any = data.DataLoader, rows: Any = None, **options: Any) -> Any:
    return kind(Rows() if rows is None else rows, batch_size=3, shuffle=True, **options)


KEEPING: dict[str, Any] = {
    "an object that collates": lambda: shuffled(collate_fn=Collation()),
    "a number closed over": lambda: shuffled(collate_fn=closing_over("a number")),
    "a list closed over": lambda: shuffled(collate_fn=closing_over("a list")),
    "parts of a dataset": lambda: shuffled(rows=WithParts()),
    "a loader of one's own": lambda: shuffled(CountsItsUses),
}


@pytest.mark.parametrize("what", KEEPING)
@pytest.mark.parametrize("cut", [(1, 2), (2, 0)])
def test_what_lies_deeper_in_the_parts_comes_back(what, cut, tmp_path):
    torch.manual_seed(0)
    uninterrupted = go(tmp_path / "a", KEEPING[what]())
    torch.manual_seed(0)
    before = go(tmp_path / "b", KEEPING[what](), cut=cut)
    assert before + go(tmp_path / "b", KEEPING[what]()) == uninterrupted


def test_rows_that_a_subset_chooses_anew_stay_chosen(tmp_path):
    def train(directory: Path, cut: tuple[int, int] | None = None) -> list[Any]:
        loader = shuffled(rows=data.Subset(Rows(), list(range(9))))
        seen = []
        policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
        with suppress(InterruptedError), Run(directory, {"w": torch.zeros(1)}, checkpointing=policy) as run:
            for epoch in run.epochs(3):
                if epoch == 1:
                    loader.dataset.indices = [*range(3, 12)]
                for batch in run.batches(loader):
                    run.ignore("seen")
                    if cut == (epoch, run.batch):
                        raise InterruptedError
                    seen.append((epoch, batch[:, 0].tolist()))
        return seen

    torch.manual_seed(0)
    uninterrupted = train(tmp_path / "a")
    torch.manual_seed(0)
    before = train(tmp_path / "b", (2, 1))
    assert before + train(tmp_path / "b") == uninterrupted


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_a_stateful_loader_among_the_variables_is_read_as_without_a_run(tmp_path):
    kind = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    torch.manual_seed(0)
    wanted = [batch[:, 0].tolist() for loader in [shuffled(kind)] for _ in range(2) for batch in loader]
    torch.manual_seed(0)
    loader = shuffled(kind)
    seen = []
    with Run(tmp_path, {"w": torch.zeros(1)}, checkpointing=Checkpointing(save_on="batch_end")) as run:
        for _ in run.epochs(2):
            seen += [batch[:, 0].tolist() for batch in run.batches(loader)]
    assert seen == wanted
