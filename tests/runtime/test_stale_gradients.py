"""Gradients that a loop uses again after the update that they were for are part of a checkpoint; those it clears are not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, Write

USE_AGAIN = ["halved", "cleared now and then", "stepped twice"]
CLEAR = ["set to None", "zeroed"]


def go(directory: Path, how: str, cut: int | None = None) -> tuple[Run, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run,
    ):
        for step in run.steps(12):
            if step == cut:
                raise InterruptedError
            match how:
                case "halved" if step:
                    for parameter in model.parameters():
                        parameter.grad *= 0.5
                case "set to None" | "zeroed":
                    optimizer.zero_grad(set_to_none=how == "set to None")
            model(torch.rand(6, 4)).square().sum().backward()
            optimizer.step()
            match how:
                case "cleared now and then" if step % 4 == 3:
                    optimizer.zero_grad()
                case "stepped twice":
                    optimizer.step()
    return run, model[2].weight.detach().clone()


@pytest.mark.parametrize("how", [*USE_AGAIN, *CLEAR])
@pytest.mark.parametrize("cut", [1, 2, 7])
def test_it_ends_as_one_that_is_not_interrupted(how, cut, tmp_path):
    _, expected = go(tmp_path / "a", how)
    go(tmp_path / "b", how, cut)
    run, found = go(tmp_path / "b", how)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert torch.equal(found, expected)


@pytest.mark.parametrize("how", CLEAR)
def test_those_that_are_cleared_are_saved_no_more_once_that_is_seen(how, tmp_path):
    go(tmp_path, how)
    saved = [holdfast.load(each.path)["run"]["position"]["gradients"] for each in holdfast.scan(tmp_path)]
    assert [bool(each) for each in saved] == [True] + 11 * [False]


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
