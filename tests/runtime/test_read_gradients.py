"""Gradients that a script reads by itself, before its next backward pass, are part of a checkpoint; those it reads after it are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import holdfast

SCRIPT = """
import sys
import torch
from torch.autograd import grad
import holdfast

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


class Plain(torch.optim.SGD):
    def step(self, closure=None):
        if all(parameter.grad is not None for parameter in model.parameters()):
            return super().step(closure)


def norm():
    return sum(parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None)


def train(optimizer):
    for step in run.steps(12):
        if step == int(sys.argv[2]):
            sys.exit()
        {before}
        optimizer.zero_grad()
        loss = rate * model(torch.rand(6, 4)).square().sum()
        torch.autograd.grad(loss, [model[0].weight], retain_graph=True)
        loss.backward()
        {after}
        optimizer.step()


optimizer = {optimizer}(model.parameters(), 0.01)
policy = holdfast.Checkpointing(save_on="batch_end", write=holdfast.Write(durability="process"))
with holdfast.Run(sys.argv[1], dict(model=model, optimizer=optimizer), checkpointing=policy) as run:
    rate = 1.0
    train(optimizer)
    print(run.state_digest())
"""
BEFORE = {
    "in its loop": "rate = 1 + sum(p.grad.norm() for p in model.parameters() if p.grad is not None)",
    "in a function": "rate = 1 + norm()",
}
AFTER = {
    "nowhere": "rate = 1",
    "in an optimizer": "rate = 1",
    "after it": "rate = 1; [p.grad.clamp_(-1, 1) for p in model.parameters()]",
    "after it, in a function": "rate = 1; norm()",
}


def go(script: Path, directory: Path, cut: int = -1) -> str:
    done = subprocess.run(
        [sys.executable, script, directory, str(cut)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(how: str, path: Path) -> Path:
    before = BEFORE.get(how, "rate = 1.0")
    optimizer = "Plain" if how == "in an optimizer" else "torch.optim.SGD"
    path.write_text(SCRIPT.format(before=before, after=AFTER.get(how, "pass"), optimizer=optimizer))
    return path


@pytest.mark.medium
@pytest.mark.parametrize("how", BEFORE)
def test_what_is_read_before_the_backward_pass_comes_back(how, tmp_path):
    script = write(how, tmp_path / "train.py")
    expected = go(script, tmp_path / "a")
    go(script, tmp_path / "b", 6)
    assert go(script, tmp_path / "b") == expected


@pytest.mark.medium
@pytest.mark.parametrize("how", AFTER)
def test_what_is_read_elsewhere_is_not_saved(how, tmp_path):
    go(write(how, tmp_path / "train.py"), tmp_path / "a")
    saved = [
        holdfast.load(each.path)["run"]["position"]["gradients"] for each in holdfast.scan(tmp_path / "a")
    ]
    assert [bool(each) for each in saved] == [True] + 11 * [False]
