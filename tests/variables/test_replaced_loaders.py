"""Loaders that are made anew at an epoch's end, as a curriculum does: the next epoch goes over the same data wherever the run is
interrupted, or the loader is named at the first save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Checkpointing
from tests.support.interrupted import Interrupted, begin, both_ways, check_exact, stop_after

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.medium

X = torch.arange(24.0)[:, None].repeat(1, 2)
DataLoader: Any = torch.utils.data.DataLoader
TensorDataset: Any = torch.utils.data.TensorDataset
Subset: Any = torch.utils.data.Subset


class Lengths(torch.utils.data.Dataset):
    """A dataset of the script's own."""

    def __init__(self, longest: int) -> None:
        self.rows = [torch.full((2,), float(each * longest)) for each in range(12)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return (self.rows[index],)


Make = Callable[[Any, int], Any]
DATA = TensorDataset(X)
WAYS: dict[str, Make] = {
    "of larger batches": lambda first, epoch: DataLoader(first.dataset, 4 + 4 * epoch, shuffle=True),
    "of other rows": lambda first, epoch: DataLoader(Subset(DATA, range(3 * epoch, 24)), 4, shuffle=True),
    "of other values": lambda first, epoch: DataLoader(TensorDataset(X + epoch), 4, shuffle=True),
    "of an own dataset": lambda first, epoch: DataLoader(Lengths(epoch + 1), 4, shuffle=True),
    "with weights": lambda first, epoch: DataLoader(
        DATA,
        4,
        sampler=torch.utils.data.WeightedRandomSampler((X[:, 0] * epoch + 1).tolist(), 24),
    ),
    "with a generator": lambda first, epoch: DataLoader(
        DATA, 4, shuffle=True, generator=torch.Generator().manual_seed(epoch)
    ),
}


def training(make: Make, *, keeps_first: bool = False) -> Callable[[Path, int | None], Any]:
    def train(directory: Path, stop: int | None) -> Any:
        torch.manual_seed(0)
        weight, step, seen = torch.zeros(2), 0, list[float]()
        loader = make(DataLoader(DATA, 4), 0)
        first = loader if keeps_first else None
        policy = Checkpointing(save_on=["batch_end", "epoch_end"], max_to_keep=2)
        with begin(directory, {"weight": weight}, checkpointing=policy) as run:
            for epoch in run.epochs(4):
                for (batch,) in run.batches(loader):
                    weight.mul_(0.5).add_(batch.sum(0) + torch.randn(2))
                    seen.append(float(weight.sum()))
                    step += 1
                    stop_after(stop, step)
                if epoch in (0, 2):
                    loader = make(loader, epoch + 1)
        assert not keeps_first or first is not None
        return (seen, len(loader)), run.last_resume

    return train


@pytest.mark.parametrize("way", WAYS)
def test_the_next_epoch_goes_over_the_same_data(way: str, tmp_path: Path):
    train = training(WAYS[way])
    (expected, _), (found, report) = both_ways(train, tmp_path, 8)
    assert (report.verdict, found == expected) == ("exact", True)
    for stop in (6, 7):  # as the first epoch ends, and after the first batch of the next
        with pytest.raises(Interrupted):
            train(tmp_path / f"at {stop}", stop)
        found, report = train(tmp_path / f"at {stop}", None)
        assert (stop, report.verdict, found == expected) == (stop, "exact", True)


class Shifted(torch.utils.data.Dataset):
    shift, strength = 0.0, 1.0

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        return (X[index] * self.strength + self.shift,)


def prepares(directory: Path, stop: int | None) -> Any:
    """What each epoch sets before its batches: seeds of generators that the loader draws from, attributes of its dataset and sampler."""
    torch.manual_seed(0)
    order, weight, step, seen = torch.Generator(), torch.zeros(2), 0, list[float]()
    data, rows = Shifted(), torch.utils.data.WeightedRandomSampler(torch.ones(24), 12, generator=order)
    loader = DataLoader(data, 4, sampler=rows, generator=order)
    policy = Checkpointing(save_on=["batch_end", "epoch_end"], max_to_keep=2)
    with begin(directory, {"weight": weight}, checkpointing=policy) as run:
        for epoch in run.epochs(5):
            order.manual_seed(100 + epoch)
            data.shift, data.strength = float(epoch), 1.0 / (epoch + 1)
            rows.weights = (X[:, 0] * epoch + 1).double()
            for (batch,) in run.batches(loader):
                weight.mul_(0.5).add_(batch.sum(0) + torch.randn(2))
                seen.append(float(weight.sum()))
                step += 1
                stop_after(stop, step)
    return seen, run.last_resume


@pytest.mark.parametrize("at", [(3,), (4,), (6, 8), (7, 9)], ids=str)
def test_what_an_epoch_prepares_is_not_undone_by_its_loader(at: tuple[int, ...], tmp_path: Path):
    check_exact(prepares, tmp_path, *at)
