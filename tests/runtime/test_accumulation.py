"""Gradients that wait for an update are part of a checkpoint, wherever among the objects their modules are."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, Write
from tests.support.verdicts import WITHOUT_VARIABLES


class Trainer:
    """Saves itself, and what trains."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])


class Agent:
    """Knows nothing of checkpoints."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer


HANDED = {
    "by name": lambda model, optimizer: {"model": model, "optimizer": optimizer},
    "in a dict": lambda model, optimizer: {"parts": {"model": model, "optimizer": optimizer}},
    "in a list": lambda model, optimizer: {"parts": [model, {"optimizer": optimizer}]},
    "in an object that saves itself": lambda model, optimizer: {"trainer": Trainer(model, optimizer)},
    "by attributes": lambda model, optimizer: {"agent": holdfast.attributes(Agent(model, optimizer))},
}


def go(directory: Path, how: str, cut: int | None = None) -> tuple[Run, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, HANDED[how](model, optimizer), checkpointing=policy, variables="off") as run,
    ):
        for step in run.steps(12):
            if step == cut:
                raise InterruptedError
            model(torch.randn(4, 3)).square().mean().backward()
            if step % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    return run, model.weight.detach().clone()


@pytest.mark.parametrize("how", HANDED)
@pytest.mark.parametrize("cut", [2, 5, 8])
def test_a_half_done_accumulation_comes_back(how, cut, tmp_path):
    uninterrupted, weight = go(tmp_path / "a", how)
    go(tmp_path / "b", how, cut)
    again, weight_again = go(tmp_path / "b", how)
    assert again.last_resume is not None
    assert again.last_resume.verdict == WITHOUT_VARIABLES
    assert torch.equal(weight_again, weight)
    assert again.state_digest() == uninterrupted.state_digest()
