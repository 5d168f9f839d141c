"""Weights and gradients that do not lie in rows, or are sparse: a resume keeps how they lie, which kernels go by."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import Checkpointing, Run


class Wrapper(torch.optim.Optimizer):
    """Holds another one and hands out its state, as many do."""

    def __init__(self, inside: torch.optim.Optimizer) -> None:
        self._optimizer_step_pre_hooks: Any = OrderedDict()
        self._optimizer_step_post_hooks: Any = OrderedDict()
        self.inside, self.param_groups, self.defaults = inside, inside.param_groups, inside.defaults
        self.state = defaultdict(dict)

    def step(self, closure: Any = None) -> Any:
        return self.inside.step(closure)

    def state_dict(self) -> Any:
        return self.inside.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.inside.load_state_dict(state)
        self.param_groups = self.inside.param_groups


def image_model() -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    model = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    return model, lambda: (model(images) - 1).square().mean()


def sparse_model() -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    model = torch.nn.Embedding(20, 3, sparse=True)
    return model, lambda: model(torch.randint(20, (4,))).square().mean()


def train(
    directory: Path, make_model: Any, make_optimizer: Any, accumulate: int, crash_at: int | None = None
) -> tuple[Run, torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model, loss = make_model()
    optimizer = make_optimizer(model.parameters())
    objects = {"model": model, "optimizer": optimizer}
    with Run(directory, objects, checkpointing=Checkpointing(save_on="batch_end")) as run:
        for step in run.steps(9):
            loss().backward()
            if step % accumulate == accumulate - 1:
                optimizer.step()
                optimizer.zero_grad()
            if step == crash_at:
                raise RuntimeError("a cable was pulled")
    return run, model, optimizer


CASES = [
    (image_model, lambda parameters: torch.optim.AdamW(parameters, lr=0.01, fused=True)),
    (image_model, lambda parameters: Wrapper(torch.optim.AdamW(parameters, lr=0.01, fused=True))),
    (image_model, lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, fused=True)),
    (sparse_model, lambda parameters: torch.optim.SparseAdam(parameters, lr=0.05)),
    (sparse_model, lambda parameters: torch.optim.SGD(parameters, lr=0.05)),
]


@pytest.mark.medium
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("make_model", "make_optimizer"), CASES)
def test_a_killed_run_ends_in_the_same_weights(make_model, make_optimizer, accumulate, tmp_path):
    _, wanted, _ = train(tmp_path / "uninterrupted", make_model, make_optimizer, accumulate)
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path / "killed", make_model, make_optimizer, accumulate, crash_at=5)
    run, model, _ = train(tmp_path / "killed", make_model, make_optimizer, accumulate)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert all(map(torch.equal, wanted.parameters(), model.parameters()))


def test_what_an_optimizer_keeps_lies_as_its_parameters_do(tmp_path):
    make_model, make_optimizer = CASES[0]
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path, make_model, make_optimizer, 1, crash_at=5)
    _, model, optimizer = train(tmp_path, make_model, make_optimizer, 1)
    assert isinstance(model, torch.nn.Conv2d)
    assert optimizer.state[model.weight]["exp_avg"].stride() == model.weight.stride() == (27, 1, 9, 3)
