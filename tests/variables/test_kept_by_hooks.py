"""What the script's hooks of torch keep, and what tensors carry, comes back; functions in place of methods are named."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Run
from tests.support.interrupted import begin, both_ways, check_exact, stop_after

torch = pytest.importorskip("torch")


def of_a_module(model: Any, optimizer: Any) -> None:
    mean = torch.zeros(1)

    def center(module: Any, args: Any, output: Any) -> Any:
        nonlocal mean
        mean = 0.9 * mean + 0.1 * output.detach().mean(0)
        return output - mean

    model.register_forward_hook(center)


def of_a_parameter(model: Any, optimizer: Any) -> None:
    calls = 0

    def shrink(gradient: Any) -> Any:
        nonlocal calls
        calls += 1
        return gradient / calls

    model.weight.register_hook(shrink)


class Decay:
    def __init__(self, model: Any) -> None:
        self.model, self.times = model, 0

    def __call__(self, *args: Any) -> None:
        self.times += 1
        with torch.no_grad():
            self.model.weight.mul_(1 - 0.01 * self.times)


def of_an_optimizer(model: Any, optimizer: Any) -> None:
    optimizer.register_step_post_hook(Decay(model))


@pytest.mark.parametrize("register", [of_a_module, of_a_parameter, of_an_optimizer])
def test_what_only_a_hook_leads_to_comes_back(register: Callable[[Any, Any], None], tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        register(model, optimizer)
        with begin(directory, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(8):
                optimizer.zero_grad()
                (model(torch.randn(4, 3)) - 1).square().mean().backward()
                optimizer.step()
                stop_after(stop, step)
        return model.weight.tolist(), run.last_resume

    check_exact(train, tmp_path, 2, 5)


def test_a_function_in_the_place_of_a_model_s_method_is_named(tmp_path):
    def clipped(self: Any, x: Any) -> Any:
        return torch.nn.functional.linear(x, self.weight).clamp(-0.1, 0.1)

    def train(directory: Path, stop: int | None) -> Run:
        model = torch.nn.Linear(3, 1)
        with begin(directory, {"model": model}) as run:
            for step in run.steps(6):
                if step == 1:
                    model.forward = types.MethodType(clipped, model)
                stop_after(stop, step)
        return run

    _, run = both_ways(train, tmp_path, 3)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact but for: model.forward"


def test_a_function_in_the_place_of_an_optimizer_s_step_is_named(tmp_path):
    def train(directory: Path, stop: int | None) -> Run:
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step_of = optimizer.step

        def twice() -> None:
            step_of()
            step_of()

        with begin(directory, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(6):
                if step == 1:
                    optimizer.step = twice
                stop_after(stop, step)
        return run

    _, run = both_ways(train, tmp_path, 3)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact but for: optimizer.hooks"


def loss_of(parameters: list[Any]) -> Any:
    first, second = parameters
    return ((torch.randn(4, 3) @ first).tanh() @ second - 1).square().mean()


def accumulate(parameters: list[Any], step: int) -> None:
    loss_of(parameters).backward()
    if step % 4 == 3:
        with torch.no_grad():
            for each in parameters:
                each -= 0.1 * each.grad
                each.grad = None


def parameters() -> list[Any]:
    torch.manual_seed(0)
    return [torch.randn(3, 2, requires_grad=True), torch.randn(2, 1, requires_grad=True)]


def test_gradients_that_accumulate_in_tensors_of_a_list(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        weights = parameters()
        with begin(directory) as run:
            for step in run.steps(12):
                accumulate(weights, step)
                stop_after(stop, step)
        return [each.tolist() for each in weights], run.last_resume

    check_exact(train, tmp_path, 2, 6)


def test_gradients_that_accumulate_in_tensors_that_are_made_anew(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        one, other = parameters()
        with begin(directory) as run:
            for step in run.steps(12):
                loss_of([one, other]).backward()
                if step % 4 == 1:
                    gradient = one.grad
                    one = (one - 0.1 * gradient).detach().requires_grad_()
                    one.grad = 0.5 * gradient
                stop_after(stop, step)
        return (one.tolist(), one.grad.tolist(), other.grad.tolist()), run.last_resume

    check_exact(train, tmp_path, 2, 6)


def test_gradients_that_accumulate_in_tensors_that_were_handed_over(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        one, other = parameters()
        with begin(directory, {"one": one, "rest": {"other": other}}) as run:
            for step in run.steps(12):
                accumulate([one, other], step)
                stop_after(stop, step)
        return (one.tolist(), other.tolist()), run.last_resume

    check_exact(train, tmp_path, 2, 6)


def test_attributes_of_tensors_and_of_parameters(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model, hidden = torch.nn.Linear(3, 1), torch.zeros(3)
        hidden.age = 0
        with begin(directory, {"model": model}) as run:
            for step in run.steps(8):
                hidden.age += 1
                if not hasattr(model.weight, "momentum"):
                    model.weight.momentum = torch.zeros(3)
                model.weight.momentum.mul_(0.9).add_(torch.randn(3))
                with torch.no_grad():
                    model.weight.add_(model.weight.momentum / hidden.age)
                stop_after(stop, step)
        return model.weight.tolist(), run.last_resume

    check_exact(train, tmp_path, 2, 5)
