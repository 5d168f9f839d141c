"""Buffers of modules in variables that are set, dropped and resized on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import begin, check_exact, stop_after

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.medium


def train(directory: Path, stop: int | None) -> Any:
    torch.manual_seed(0)
    weighted, unweighted = torch.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(torch.ones(3))
    queue: Any = torch.nn.Module()
    queue.register_buffer("rows", torch.zeros(0, 3))
    logits, losses = torch.zeros(4, 3), list[float]()
    with begin(directory, {"logits": logits}) as run:
        for step in run.steps(9):
            logits += torch.randn(4, 3)
            queue.rows = torch.cat([queue.rows[-5:], logits[:2]])
            if step == 2:
                weighted.weight, unweighted.weight = torch.tensor([1.0, 2.0, 0.5]), None
            labels = logits.argmin(1)
            losses.append(float(weighted(logits, labels) + unweighted(logits, labels) + queue.rows.sum()))
            stop_after(stop, step)
    return losses, run.last_resume


@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
def test_they_are_what_they_were(at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)
