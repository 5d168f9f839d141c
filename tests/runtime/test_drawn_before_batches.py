"""What a script draws between `epochs` and `batches`, a resume within the epoch draws once more: the same rows, noise and orders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.interrupted import begin, check_exact, stop_after

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.medium


def of_new_loaders(directory: Path, stop: int | None) -> Any:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    x, weight, seen, step = torch.arange(16.0)[:, None], torch.zeros(1), list[float](), 0
    with begin(directory, {"weight": weight}) as run:
        for epoch in run.epochs(4):
            rows = random.sample(range(16), 8)
            noise, factor = torch.randn(8, 1), np.random.beta(2, 2)
            data = torch.utils.data.TensorDataset(x[rows] + noise * epoch)
            loader: Any = torch.utils.data.DataLoader(data, 2, shuffle=True)
            for (batch,) in run.batches(loader):
                weight.mul_(0.5).add_(batch.sum() * factor + torch.randn(1))
                seen.append(float(weight))
                step += 1
                stop_after(stop, step)
    return seen, run.last_resume


def of_lists(directory: Path, stop: int | None) -> Any:
    np.random.seed(0)
    weight, seen, step = np.zeros(1), list[float](), 0
    with begin(directory, {"weight": weight}) as run:
        for _ in run.epochs(4):
            for batch in run.batches([*map(float, np.random.permutation(5))]):
                weight += batch * np.random.rand()
                seen.append(float(weight[0]))
                step += 1
                stop_after(stop, step)
    return seen, run.last_resume


@pytest.mark.parametrize("at", [(2,), (6,), (7, 9), (5, 11)], ids=str)
@pytest.mark.parametrize("train", [of_new_loaders, of_lists], ids=lambda each: each.__name__)
def test_it_is_the_same_in_the_middle_of_the_epoch(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)
