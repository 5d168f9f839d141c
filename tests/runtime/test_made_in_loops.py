"""Data that a script makes in its loop over epochs: where they are others after a resume, that is said; growing is no difference."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from holdfast import Run
from tests.support.interrupted import Interrupted, begin, stop_after

torch = pytest.importorskip("torch")
MADE_OTHERWISE = "the data that the script makes in the loop are not those of before"
ANOTHER_BATCH = "the data give another next batch than they would have"


class Labelled(torch.utils.data.Dataset):  # type: ignore[misc]
    def __init__(self, rows: Any, labels: Any) -> None:
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index], self.labels[index]


def clustered(directory: Path, stop: int | None, way: str) -> tuple[Any, Run]:
    """Labels follow the weights, and the weights follow the labels."""
    torch.manual_seed(0)
    rows, weight = torch.randn(24, 2), torch.ones(2)
    with begin(directory, {"weight": weight}) as run:
        for _ in run.epochs(3):
            labels = rows @ weight
            if way == "in the run":
                run["labels"] = labels
                labels = run["labels"]
            if way == "unnamed":
                given = run.batches(torch.utils.data.DataLoader(Labelled(rows, labels), 4, shuffle=True))
            else:
                loader = torch.utils.data.DataLoader(Labelled(rows, labels), 4, shuffle=True)
                given = run.batches(loader)
            for some, wanted in given:
                weight += 0.1 * (some * wanted[:, None]).mean(0) + 0.01 * torch.rand(2)
                stop_after(stop, run.step)
    return weight.tolist(), run


@pytest.mark.medium
@pytest.mark.parametrize("way", ["named", "unnamed", "in the run"])
@pytest.mark.parametrize("stop", [3, 8])
def test_data_that_follow_what_is_trained(way: str, stop: int, tmp_path: Path):
    expected, _ = clustered(tmp_path / "uninterrupted", None, way)
    with pytest.raises(Interrupted):
        clustered(tmp_path / "killed", stop, way)
    found, run = clustered(tmp_path / "killed", None, way)
    assert run.last_resume is not None
    if way == "in the run":
        assert (found, run.last_resume.verdict) == (expected, "exact")
    else:
        assert found != expected
        assert MADE_OTHERWISE in run.last_resume.verdict


def test_the_same_data_made_again_are_no_difference(tmp_path: Path):
    def train(stop: int | None) -> Run:
        rows = torch.arange(24.0)
        with begin(tmp_path, {"weight": torch.ones(2)}) as run:
            for epoch in run.epochs(3):
                loader = torch.utils.data.DataLoader(Labelled(rows, rows * epoch), 4, shuffle=True)
                for _ in run.batches(loader):
                    stop_after(stop, run.step)
        return run

    with pytest.raises(Interrupted):
        train(8)
    report = train(None).last_resume
    assert report is not None
    assert report.verdict == "exact"


@pytest.mark.parametrize("is_made_in_loop", [True, False])
def test_a_list_of_batches_that_is_another_one(is_made_in_loop: bool, tmp_path: Path):
    def train(stop: int | None, seed: int) -> Run:
        order = random.Random(seed)
        rows = [order.random() for _ in range(12)]
        batches = [rows[at : at + 2] for at in range(0, 12, 2)]
        with begin(tmp_path, {"weight": torch.ones(2)}) as run:
            for _ in run.epochs(3):
                if is_made_in_loop:
                    random.shuffle(rows)
                    batches = [rows[at : at + 2] for at in range(0, 12, 2)]
                for _ in run.batches(batches):
                    stop_after(stop, run.step)
        return run

    with pytest.raises(Interrupted):
        train(8, 0)
    report = train(None, 0 if is_made_in_loop else 1).last_resume
    assert report is not None
    assert ANOTHER_BATCH in report.verdict


def test_data_that_grow_from_epoch_to_epoch_are_no_difference(tmp_path: Path):
    def train(stop: int | None) -> Run:
        rows = torch.arange(24.0)
        chosen = [0, 1]
        with begin(tmp_path, {"weight": torch.ones(2)}) as run:
            for epoch in run.epochs(4):
                if stop == epoch:
                    raise Interrupted
                some = torch.utils.data.Subset(torch.utils.data.TensorDataset(rows), chosen)
                for _ in run.batches(torch.utils.data.DataLoader(some, 2, shuffle=True)):
                    pass
                chosen = [*chosen, 2 + 2 * epoch, 3 + 2 * epoch]
        return run

    with pytest.raises(Interrupted):
        train(1)
    with pytest.raises(Interrupted):  # nobody can know yet that they grow
        train(3)
    report = train(None).last_resume
    assert report is not None
    assert report.verdict == "exact"
