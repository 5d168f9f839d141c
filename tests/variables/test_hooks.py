"""Hooks of torch that a script registers, or takes away, in mid-run: in no `state_dict`, so they are named at the resume."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Checkpointing, Run, Write

torch = pytest.importorskip("torch")


class Crash(Exception):
    """Ends a run from within."""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))

    def forward(self, x: Any) -> Any:
        return self.body(x)


def go(
    directory: Path,
    crash: int | None,
    change: Callable[[Any], object],
    begin: Callable[[Any], object] = lambda objects: None,
    ignore: str = "nothing",
) -> Run:
    """Eight steps; at the third one something is done to what was handed over, at the beginning something else."""
    torch.manual_seed(0)
    net = Net()
    held = {
        "nets": [net],
        "optimizer": torch.optim.SGD(net.parameters(), 0.1),
        "scale": torch.ones(1, requires_grad=True),
    }
    begin(held)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with Run(directory, held, checkpointing=policy) as run:
        run.ignore(ignore)
        for step in run.steps(8):
            if step == crash:
                raise Crash
            if step == 2:
                change(held)
            held["optimizer"].zero_grad()
            (held["scale"] * net(torch.ones(1, 2))).sum().backward()
            held["optimizer"].step()
    return run


def resumed(directory: Path, change: Callable[[Any], object], **options) -> Run:
    with pytest.raises(Crash):
        go(directory, 5, change, **options)
    return go(directory, None, change, **options)


def double(*given: Any) -> None:
    """A hook of any kind that does nothing."""


def body(held: Any) -> Any:
    return held["nets"][0].body


@pytest.mark.parametrize(
    ("change", "name", "kind"),
    [
        (lambda held: body(held)[1].register_forward_hook(double), "nets.0.body.1", "forward hook"),
        (lambda held: body(held).register_forward_pre_hook(double), "nets.0.body", "forward pre-hook"),
        (lambda held: body(held)[1].register_full_backward_hook(double), "nets.0.body.1", "backward hook"),
        (
            lambda held: body(held)[1].register_full_backward_pre_hook(double),
            "nets.0.body.1",
            "backward pre-hook",
        ),
        (lambda held: body(held)[0].weight.register_hook(double), "nets.0.body.0.weight", "gradient hook"),
        (
            lambda held: body(held)[0].bias.register_post_accumulate_grad_hook(double),
            "nets.0.body.0.bias",
            "gradient hook",
        ),
        (lambda held: held["scale"].register_hook(functools.partial(double)), "scale", "gradient hook"),
        (lambda held: held["optimizer"].register_step_pre_hook(double), "optimizer", "step pre-hook"),
        (lambda held: held["optimizer"].register_step_post_hook(double), "optimizer", "step post-hook"),
    ],
)
def test_a_hook_of_the_script_is_named(change, name, kind, tmp_path, caplog):
    run = resumed(tmp_path, change)
    assert run.last_resume is not None
    assert run.last_resume.verdict == f"exact but for: {name}.hooks"
    said = [line for line in caplog.messages if line.startswith(f"not saved: {name}.hooks: a {kind}")]
    assert said
    assert all("(double, line " in line and f"run.ignore('{name}.hooks')" in line for line in said)


def test_one_of_all_modules_is_named(tmp_path):
    handles = []
    try:
        run = resumed(
            tmp_path,
            lambda held: handles.append(torch.nn.modules.module.register_module_forward_hook(double)),
        )
    finally:
        for each in handles:
            each.remove()
    assert run.last_resume is not None
    assert run.last_resume.unsaved == ("torch.hooks",)


def test_one_that_is_gone_is_named(tmp_path):
    handles = []

    def begin(held: Any) -> None:
        handles.append(body(held)[1].register_forward_hook(double))

    run = resumed(tmp_path, lambda held: handles[-1].remove(), begin=begin)
    assert run.last_resume is not None
    assert run.last_resume.unsaved == ("nets.0.body.1.hooks",)


def briefly(held: Any) -> None:
    body(held)[1].register_forward_hook(double).remove()


def replaced(held: Any) -> None:
    body(held)[1]._forward_hooks.clear()
    body(held)[1].register_forward_hook(double)


def of_torch(held: Any) -> None:
    body(held)[1].register_forward_pre_hook(
        torch.nn.utils.weight_norm
    )  # a function of torch's: what it makes is state
    body(held)[1]._forward_pre_hooks.popitem()
    held["scale"].register_hook(torch.nn.functional.relu)


@pytest.mark.parametrize(
    ("change", "begin"),
    [
        (briefly, lambda held: None),
        (replaced, lambda held: body(held)[1].register_forward_hook(double)),
        (of_torch, lambda held: None),
        (lambda held: None, lambda held: held["optimizer"].register_step_pre_hook(double)),
    ],
)
def test_what_is_as_it_was_or_of_a_library_is_not_named(change, begin, tmp_path):
    run = resumed(tmp_path, change, begin=begin)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"


@pytest.mark.parametrize("pattern", ["nets.0.body.1.hooks", "*.hooks", "nets"])
def test_one_that_is_ignored_is_not_named(pattern, tmp_path):
    run = resumed(tmp_path, lambda held: body(held)[1].register_forward_hook(double), ignore=pattern)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"


def times(factor: float) -> Callable[..., Any]:
    def scaled(*given: Any) -> Any:
        return given[-1] * factor

    return scaled


def scaled_by(factor: float, gradient: Any) -> Any:
    return gradient * factor


@pytest.mark.parametrize("second", [3.0, 0.5])
@pytest.mark.parametrize("make", [times, lambda factor: functools.partial(scaled_by, factor)])
def test_one_that_was_exchanged_for_another_of_the_same_function_is_named(second, make, tmp_path):
    handles = []

    def begin(held: Any) -> None:
        handles.append(body(held)[0].weight.register_hook(make(0.5)))

    def change(held: Any) -> None:
        handles.pop().remove()
        handles.append(body(held)[0].weight.register_hook(make(second)))

    run = resumed(tmp_path, change, begin=begin)
    assert run.last_resume is not None
    is_other = second != 0.5
    assert run.last_resume.verdict == ("exact but for: nets.0.body.0.weight.hooks" if is_other else "exact")


class Player:
    def __init__(self) -> None:
        self.net = torch.nn.Sequential(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda teacher, *_: teacher[0].register_forward_hook(double), "teacher.0.hooks"),
        (lambda teacher, *_: teacher[0].weight.register_hook(double), "teacher.0.weight.hooks"),
        (lambda _, player, *__: player.net.register_forward_pre_hook(double), "player.net.hooks"),
        (lambda _, __, prompt, ___: prompt.register_hook(double), "prompt.hooks"),
        (lambda _, __, ___, optimizer: optimizer.register_step_pre_hook(double), "optimizer.hooks"),
        (lambda *_: torch.nn.Linear(1, 1).register_forward_hook(double), None),
    ],
)
def test_one_of_what_is_only_a_variable_is_named(change, named, tmp_path):
    def go(stop: int | None) -> Run:
        teacher, player = torch.nn.Sequential(torch.nn.Linear(1, 1)), Player()
        prompt = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([prompt], 0.1)
        policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
        with Run(tmp_path, {"scale": [1.0]}, checkpointing=policy) as run:
            for step in run.steps(6):
                if step == stop:
                    raise Crash
                if step == 2:
                    change(teacher, player, prompt, optimizer)
        return run

    with pytest.raises(Crash):
        go(4)
    found = go(None).last_resume
    assert found is not None
    assert found.verdict == ("exact" if named is None else f"exact but for: {named}")


def test_those_of_an_experiment_are_named(tmp_path):
    from tests.support.small_runs import At, on_disk, train
    from tests.support.small_runs import experiment as make

    def run(stop: int) -> Any:
        phase = train(n_epochs=3, checkpointing=on_disk("batch_end"))

        def register(context: Any) -> None:
            context.graph["head"].model.register_forward_hook(double)

        callbacks = [At("epoch_end", 0, do=register), At("batch_end", 1, stop, do=Crash())]
        experiment = make(tmp_path, phase, callbacks=callbacks)
        with pytest.raises(Crash):
            experiment.run(resume=True, progress=False)
        return experiment.last_resume

    run(1)
    verdict = run(3).verdict
    assert verdict.startswith("exact but for: ")
    assert verdict.endswith(".hooks")
