"""`run.step` counts an update once, however many `step` methods of one optimizer call each other."""

from __future__ import annotations

import pytest
import torch

from holdfast import Checkpointing, Run
from holdfast.runtime.torch_updates import Updates


class Own(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


class Decorated(torch.optim.Adam):
    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else closure()
        super().step()
        return loss


@pytest.mark.parametrize("kind", [Own, Decorated])
def test_a_step_that_calls_that_of_its_base_class_is_one_update(kind, tmp_path):
    (
        torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]),
        torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]),
    )
    model = torch.nn.Linear(2, 1)
    optimizer = kind(model.parameters(), 0.1)
    policy = Checkpointing(save_on="phase_end")
    with Run(tmp_path, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run:
        for step in run.steps(4):
            assert run.step == step
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        assert run.step == 4


def test_its_gradients_are_not_taken_for_used_again():
    torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    model = torch.nn.Linear(2, 1)
    optimizer = Own(model.parameters(), 0.1)
    updates = Updates({"model": model, "optimizer": optimizer})
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert updates.pending == {}
