"""Whether tensors learn, and in which mode models are, comes back, whether they were handed over or are variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import attributes
from holdfast.records import leaves
from tests.support.interrupted import begin, both_ways, check_exact, every_batch, stop_after

torch = pytest.importorskip("torch")


def models_and_tensors(directory: Path, stop: int | None) -> Any:
    """The model is frozen, and in another mode; a tensor begins to learn, and another one stops."""
    torch.manual_seed(0)
    model, delta = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)), torch.zeros(2)
    prompt, flags = torch.ones(2, requires_grad=True), []
    with begin(directory) as run:
        for step in run.steps(9):
            loss = (model(delta + prompt)).square().sum()
            loss.backward()
            with torch.no_grad():
                for each in (delta, prompt):
                    each -= 0 if each.grad is None else 0.1 * each.grad
                    each.grad = None
            model.zero_grad()
            flags.append((model[0].weight.requires_grad, model.training, delta.requires_grad))
            flags.append(prompt.requires_grad)
            if step == 1:
                model.requires_grad_(False).eval()
                delta.requires_grad_(True)
            if step == 4:
                prompt.requires_grad_(False)
            stop_after(stop, step)
    return (flags, delta.tolist(), prompt.tolist()), run.last_resume


def made_anew_in_each_turn(directory: Path, stop: int | None) -> Any:
    torch.manual_seed(0)
    delta, many = torch.zeros(2, requires_grad=True), [torch.ones(2)]
    with begin(directory) as run:
        for step in run.steps(9):
            (delta + torch.rand(2) + sum(each.sum() for each in many)).square().sum().backward()
            assert delta.grad is not None
            delta = (delta - 0.1 * delta.grad).detach().requires_grad_(True)
            many = [*many, torch.full((2,), float(step)).requires_grad_(step % 2 == 0)]
            stop_after(stop, step)
    return (delta.tolist(), [each.requires_grad for each in many]), run.last_resume


class Attack:
    def __init__(self) -> None:
        self.delta, self.others = torch.zeros(2), {"a": [torch.ones(2)]}


def handed_over(directory: Path, stop: int | None) -> Any:
    attack, deltas = Attack(), {"x": torch.zeros(2), "y": [torch.zeros(2)]}
    seen, module = [], torch.nn.Linear(1, 1)
    module.scale = torch.ones(1)
    with begin(directory, {"attack": attributes(attack), "deltas": deltas, "module": module}) as run:
        for step in run.steps(9):
            found = (attack.delta, attack.others["a"][0], deltas["x"], deltas["y"][0], module.scale)
            seen.append([each.requires_grad for each in found])
            if step == 2:
                for each in found:
                    each.requires_grad_(True)
            if step == 5:
                found[0].requires_grad_(False)
            stop_after(stop, step)
    return seen[-1], run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
@pytest.mark.parametrize(
    "train", [models_and_tensors, made_anew_in_each_turn, handed_over], ids=lambda each: each.__name__
)
def test_they_come_back(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)


def test_a_model_of_which_only_the_mode_has_changed_is_not_saved(tmp_path: Path):
    model = torch.nn.Linear(2, 2)
    with begin(tmp_path) as run:
        for _ in run.steps(3):
            model.eval()
    with holdfast.open(tmp_path / "train_epoch0_batch2.ckpt.mml") as checkpoint:
        assert [leaf for leaf in leaves(checkpoint.source.tree) if leaf.path.startswith("variables")] == []


def test_only_watched_they_are_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        delta = torch.zeros(2)
        with begin(directory, variables="watch") as run:
            for step in run.steps(6):
                delta.requires_grad_(True)
                stop_after(stop, step)
        return None, run.last_resume

    _, (_, report) = both_ways(train, tmp_path, 3)
    assert report.verdict == "exact but for: delta"


def test_going_back_takes_them_back(tmp_path: Path):
    model, delta, weights, seen = torch.nn.Linear(1, 1), torch.zeros(2), np.zeros(1), []
    with begin(tmp_path, {"weights": weights}, checkpointing=every_batch(on_divergence="rollback")) as run:
        for step in run.steps(5):
            seen.append((model.training, model.weight.requires_grad, delta.requires_grad))
            if step == 3 and not run.rollbacks:
                model.eval().requires_grad_(False)
                delta.requires_grad_(True)
                weights[0] = np.nan
            run.log(loss=weights.sum())
    assert run.rollbacks == 1
    assert seen == [(True, True, False)] * 5
