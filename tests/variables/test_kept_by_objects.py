"""What an object that was handed over keeps beside its own `state_dict`, and what functions of a schedule close over, comes back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import Checkpointing, Run


class Lookahead:
    """No optimizer of torch's; its `state_dict` is that of the one inside, and forgets the slow weights."""

    def __init__(self, inside: torch.optim.Optimizer) -> None:
        self.inside, self.count = inside, 0
        self.slow = [[each.detach().clone() for each in group["params"]] for group in inside.param_groups]

    def zero_grad(self) -> None:
        self.inside.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        self.inside.step()
        self.count += 1
        if self.count % 3 == 0:
            for group, slow in zip(self.inside.param_groups, self.slow, strict=True):
                for parameter, kept in zip(group["params"], slow, strict=True):
                    kept.add_(parameter - kept, alpha=0.5)
                    parameter.copy_(kept)

    def state_dict(self) -> Any:
        return self.inside.state_dict()

    def load_state_dict(self, saved: Any) -> None:
        self.inside.load_state_dict(saved)


def counted(optimizer: torch.optim.Optimizer) -> Any:
    """A schedule whose function counts its calls in a variable that it closes over."""
    calls, sums = 0, [0]

    def factor(epoch: int) -> float:
        nonlocal calls
        calls += 1
        sums[0] += calls
        return 1 / (1 + calls + sums[0])

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def go(directory: Path, handed: str, cut: int | None = None) -> tuple[Run, list[torch.Tensor]]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer: Any = torch.optim.Adam(model.parameters(), 0.1)
    schedule = counted(optimizer) if "schedule" in handed else None
    if handed == "a wrapper":
        optimizer = Lookahead(optimizer)
    objects: dict[str, Any] = {"model": model, "parts": [{"optimizer": optimizer}]}
    if handed == "a schedule":
        objects["schedule"] = schedule
    with (
        suppress(InterruptedError),
        Run(directory, objects, checkpointing=Checkpointing(save_on="batch_end")) as run,
    ):
        for step in run.steps(10):
            if step == cut:
                raise InterruptedError
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    return run, [each.detach() for each in model.parameters()]


@pytest.mark.parametrize("handed", ["a wrapper", "a schedule", "no schedule"])
@pytest.mark.parametrize("cut", [1, 5])
def test_a_run_ends_as_an_uninterrupted_one(handed, cut, tmp_path):
    _, wanted = go(tmp_path / "a", handed)
    go(tmp_path / "b", handed, cut)
    run, found = go(tmp_path / "b", handed)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert all(map(torch.equal, wanted, found))
