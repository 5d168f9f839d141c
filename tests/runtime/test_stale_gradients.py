"""Gradients that a loop uses again after the update that they were for are part of a checkpoint; those it clears are not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, Write

USE_AGAIN = ["never cleared", "cleared now and then", "stepped twice"]
CLEAR = [
    "set to None",
    "zeroed",
    "set to None at the end",
    "accumulated",
    "zeroed, and not all used",
    "frozen",
]
N_STEPS = 14


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        self.more = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, *, uses_more: bool) -> torch.Tensor:
        return self.body(x) + (self.more(x) if uses_more else 0)


def go(
    directory: Path, how: str, cut: int | None = None, **more: object
) -> tuple[Run, torch.Tensor, dict[int, str]]:
    """Train, and leave in step `cut`; returns the digest at each step, too."""
    torch.manual_seed(0)
    model, digests = Net(), {}
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run,
    ):
        run.ignore("digests")
        for step in run.steps(N_STEPS):
            digests[step] = run.state_digest()
            if step == cut:
                raise InterruptedError
            match how:
                case "set to None" | "zeroed" | "zeroed, and not all used":
                    optimizer.zero_grad(set_to_none=how == "set to None")
                case "frozen":  # as a discriminator is while its generator trains
                    model.requires_grad_(True)
                    optimizer.zero_grad()
            uses_more = how != "zeroed, and not all used" or step % 4 == 0
            model(torch.rand(6, 4), uses_more=uses_more).square().sum().backward()
            if how != "accumulated" or step % 3 == 2:
                optimizer.step()
            match how:
                case "set to None at the end":
                    optimizer.zero_grad()
                case "accumulated" if step % 3 == 2:
                    optimizer.zero_grad()
                case "cleared now and then" if step % 4 == 3:
                    optimizer.zero_grad()
                case "stepped twice":
                    optimizer.step()
                case "frozen":
                    model.requires_grad_(False)
    return run, model.body[2].weight.detach().clone(), digests


@pytest.mark.medium
@pytest.mark.parametrize("how", [*USE_AGAIN, *CLEAR])
@pytest.mark.parametrize("cut", [1, 2, 7, 11])
def test_it_is_at_each_step_as_one_that_is_not_interrupted(how, cut, tmp_path):
    _, expected, uninterrupted = go(tmp_path / "a", how)
    go(tmp_path / "b", how, cut)
    run, found, resumed = go(tmp_path / "b", how)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert torch.equal(found, expected)
    assert resumed == {step: digest for step, digest in uninterrupted.items() if step >= cut}


@pytest.mark.parametrize("how", ["set to None", "zeroed", "set to None at the end"])
def test_those_that_are_cleared_are_saved_no_more_once_that_is_seen(how, tmp_path):
    go(tmp_path, how)
    saved = [holdfast.load(each.path)["run"]["position"]["gradients"] for each in holdfast.scan(tmp_path)]
    is_first = how != "set to None at the end"
    assert [bool(each) for each in saved] == [is_first] + (N_STEPS - 1) * [False]


def test_nothing_is_watched_once_it_is_settled():
    from holdfast.runtime.torch_updates import Updates

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    updates = Updates({"model": model, "optimizer": optimizer})
    for _ in range(10):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert not any(each._backward_hooks for each in model.parameters())
    assert updates.pending == {}
