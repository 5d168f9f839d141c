"""Weights and gradients that do not lie in rows, or are sparse: a resume keeps how they lie, which kernels go by."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
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


LAID_OUT = {
    "channels_last": torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "permuted": torch.arange(24.0).reshape(2, 3, 4).permute(1, 2, 0),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "array": np.arange(24.0, dtype=">f4").reshape(2, 3, 4).transpose(1, 2, 0),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "of one row": torch.arange(6.0).reshape(1, 2, 3).permute(2, 0, 1),
    "with gaps": torch.arange(12.0).reshape(2, 6)[:, ::2],
}


def strides_of(value: Any) -> Any:
    """Of axes with several items: the others have no say in where an item lies."""
    strides = value.strides if isinstance(value, np.ndarray) else value.stride()
    return [step for step, extent in zip(strides, value.shape, strict=True) if extent > 1]


@pytest.mark.parametrize("name", LAID_OUT)
def test_what_is_made_anew_lies_in_memory_as_it_did(name, tmp_path):
    value = LAID_OUT[name]
    holdfast.save(tmp_path / "saved", {"value": value})
    made = holdfast.load(tmp_path / "saved")["value"]
    assert np.array_equal(made, value)
    if name != "with gaps":
        assert strides_of(made) == strides_of(value)


@pytest.mark.parametrize("name", LAID_OUT)
def test_an_entry_that_lies_otherwise_is_made_anew(name, tmp_path):
    value = LAID_OUT[name]
    holdfast.save(tmp_path / "saved", {"best": {"value": value}})
    empty = np.zeros(value.shape, value.dtype) if isinstance(value, np.ndarray) else torch.zeros(value.shape)
    live: dict[str, Any] = {"value": empty}
    holdfast.load(tmp_path / "saved", into={"best": live})
    assert np.array_equal(live["value"], value)
    if name != "with gaps":
        assert strides_of(live["value"]) == strides_of(value)


@pytest.mark.medium
def test_variables_that_lie_otherwise_than_before_the_loop_are_so_again(tmp_path):
    def search(crash_at: int | None = None) -> tuple[Run, Any]:
        best, history = torch.zeros(2, 3, 4, 5), [torch.zeros(2, 3, 4, 5)]
        with Run(
            tmp_path, {"weight": torch.zeros(1)}, checkpointing=Checkpointing(save_on="batch_end")
        ) as run:
            for step in run.steps(6):
                if step == 1:
                    best = LAID_OUT["channels_last"].clone()
                    history[0] = best + 1
                if step == crash_at:
                    raise RuntimeError("a cable was pulled")
        return run, (best, history[0])

    with pytest.raises(RuntimeError, match="a cable"):
        search(crash_at=3)
    run, found = search()
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert [each.stride() for each in found] == 2 * [LAID_OUT["channels_last"].stride()]


@pytest.mark.medium
def test_a_model_in_another_memory_format_than_when_it_was_saved_is_named(tmp_path):
    def fit(crash_at: int | None = None) -> Run:
        model = torch.nn.Conv2d(2, 4, 3)
        with Run(tmp_path, {"model": model}, checkpointing=Checkpointing(save_on="batch_end")) as run:
            for step in run.steps(6):
                if step == 1:
                    model.to(memory_format=torch.channels_last)
                if step == crash_at:
                    raise RuntimeError("a cable was pulled")
        return run

    with pytest.raises(RuntimeError, match="a cable"):
        fit(crash_at=3)
    report = fit().last_resume
    assert report is not None
    assert report.verdict.startswith("not exact: 'model' has other strides than it had: model/weight")
