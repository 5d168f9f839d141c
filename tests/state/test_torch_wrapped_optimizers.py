"""Optimizers that wrap another, or that say themselves what their state is, resume as an uninterrupted run."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, Write, state
from holdfast.errors import StateMismatchError, UnsupportedStateError


class Delegating(torch.optim.Optimizer):
    """Shares the groups of the one inside and hands out its state, without `Optimizer.__init__`; as timm's Lookahead."""

    def __init__(self, inside: torch.optim.Optimizer) -> None:
        self._optimizer_step_pre_hooks: Any = OrderedDict()
        self._optimizer_step_post_hooks: Any = OrderedDict()
        self.inside, self.param_groups, self.defaults = inside, inside.param_groups, inside.defaults
        self.state: Any = defaultdict(dict)
        for group in self.param_groups:
            group["lookahead_step"] = 0

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        loss = self.inside.step(closure)
        for group in self.inside.param_groups:
            group["lookahead_step"] += 1
            for parameter in group["params"]:
                slots = self.inside.state[parameter]
                slow = slots.setdefault("slow", parameter.detach().clone())
                if group["lookahead_step"] % 3 == 0:
                    slow.add_(parameter - slow, alpha=0.5)
                    parameter.copy_(slow)
        return loss

    def state_dict(self):
        return self.inside.state_dict()

    def load_state_dict(self, state_dict):
        self.inside.load_state_dict(state_dict)
        self.param_groups = self.inside.param_groups


class KeyedByTensors(torch.optim.Optimizer):
    """Its groups are a property, and its state has parameters as keys; as pytorch_optimizer's Lookahead."""

    def __init__(self, inside: torch.optim.Optimizer) -> None:
        self._optimizer_step_pre_hooks: Any = OrderedDict()
        self._optimizer_step_post_hooks: Any = OrderedDict()
        self.inside, self.defaults, self.count = inside, inside.defaults, 0
        self.state: Any = defaultdict(dict)

    @property
    def param_groups(self):  # type: ignore[override]
        return self.inside.param_groups

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        self.inside.step(closure)
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                slow = self.state[parameter].setdefault("slow", torch.zeros_like(parameter))
                slow.add_(parameter, alpha=0.1)
                parameter.sub_(slow, alpha=0.01 * (self.count % 3))

    def state_dict(self):
        return {"slow": self.state, "count": self.count, "base": self.inside.state_dict()}

    def load_state_dict(self, state_dict):
        self.state, self.count = state_dict["slow"], state_dict["count"]
        self.inside.load_state_dict(state_dict["base"])


class Both(torch.optim.Optimizer):
    """Steps two others, of which its own `state_dict` says nothing."""

    def __init__(self, parameters) -> None:
        parameters = list(parameters)
        super().__init__(parameters, {})
        self.parts = [
            torch.optim.Adam(parameters[:1], 0.1),
            torch.optim.SGD(parameters[1:], 0.1, momentum=0.9),
        ]

    def step(self, closure=None):  # type: ignore[override]
        for each in self.parts:
            each.step()


MAKES = {
    "delegating": lambda p: Delegating(torch.optim.Adam(p, 0.1)),
    "keyed by tensors": lambda p: KeyedByTensors(torch.optim.Adam(p, 0.1)),
    "both": Both,
    "twice": lambda p: Delegating(Delegating(torch.optim.SGD(p, 0.1, momentum=0.9))),
}


def go(directory, make, cut: int | None = None, order: int = 1) -> Run:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    optimizer = make([*model.parameters()][::order])
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run,
    ):
        for step in run.steps(9):
            if step == cut:
                raise InterruptedError
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
            assert run.step == step + 1
    return run


@pytest.mark.parametrize("name", MAKES)
def test_a_run_ends_as_an_uninterrupted_one(name, tmp_path):
    uninterrupted = go(tmp_path / "a", MAKES[name]).state_digest()
    go(tmp_path / "b", MAKES[name], cut=5)
    again = go(tmp_path / "b", MAKES[name])
    assert again.last_resume is not None
    assert again.last_resume.record.moment.step == 5
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted


@pytest.mark.parametrize("name", MAKES)
def test_the_state_of_the_one_inside_is_in_the_checkpoint(name, tmp_path):
    go(tmp_path, MAKES[name])
    with holdfast.open(holdfast.scan(tmp_path)[-1]) as checkpoint:
        arrays = [leaf.path for leaf in holdfast.records.leaves(checkpoint.source.tree)]
    assert [path for path in arrays if path.startswith("optimizer/")]


def test_parameters_in_another_order_are_refused(tmp_path):
    go(tmp_path, MAKES["delegating"], cut=5)
    with pytest.raises(StateMismatchError, match=r"parameter 0 was .*goes by position"):
        go(tmp_path, MAKES["delegating"], order=-1)


def test_a_state_dict_that_fails_is_refused_by_name():
    class Failing(Delegating):
        def state_dict(self):
            raise RuntimeError("consolidate it first")

    model = torch.nn.Linear(2, 1)
    objects = {"model": model, "optimizer": Failing(torch.optim.SGD(model.parameters(), 0.1))}
    with pytest.raises(UnsupportedStateError, match="consolidate it first"):
        state.capture(objects)


def test_what_was_left_out_of_one_is_refused_or_kept(tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = MAKES["delegating"](model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    objects = {"model": model, "optimizer": optimizer}
    snapshot = state.capture(objects, exclude=["optimizer/own/state"])
    with pytest.raises(StateMismatchError, match="leaves it out"):
        state.restore(snapshot, objects)
    restored = state.restore(snapshot, objects, keep=["optimizer/own/state"])
    assert restored.kept
    assert "slow" in next(iter(optimizer.inside.state.values()))


class Keeping(torch.optim.Optimizer):
    """Its steps depend on what it keeps in attributes of several kinds."""

    def __init__(self, parameters, scale: float = 1.0) -> None:
        super().__init__(parameters, {})
        self.count, self.counts, self.total, self.scale = 0, [], torch.zeros(1), scale
        self.dice, self.table = np.random.default_rng(3), np.zeros(2)

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        self.count += 1
        self.counts.append(self.count)
        self.total += self.count
        self.table[1] += self.count
        sums = sum(self.counts) + float(self.total) + float(self.table[1])
        size = self.scale * (0.1 + self.dice.random()) / (self.count + sums)
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(parameter.grad, alpha=size)


class MasterCopies(torch.optim.Optimizer):
    """Trains copies of higher precision, which only an attribute holds."""

    def __init__(self, parameters) -> None:
        parameters = list(parameters)
        super().__init__(parameters, {})
        self.masters = [each.detach().clone().double() for each in parameters]
        self.inside = torch.optim.Adam(self.masters, 0.05)

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        pairs = list(zip(self.param_groups[0]["params"], self.masters, strict=True))
        for parameter, master in pairs:
            master.grad = parameter.grad.double()
        self.inside.step()
        for parameter, master in pairs:
            parameter.copy_(master)


@pytest.mark.parametrize("make", [Keeping, MasterCopies, lambda p: Delegating(Keeping(p))])
def test_what_an_optimizer_keeps_in_attributes_comes_back(make, tmp_path):
    uninterrupted = go(tmp_path / "a", make)
    go(tmp_path / "b", make, cut=5)
    again = go(tmp_path / "b", make)
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted.state_digest()
    assert all(map(torch.equal, again["model"].parameters(), uninterrupted["model"].parameters()))


def test_a_setting_of_an_optimizer_is_the_scripts(tmp_path):
    go(tmp_path, Keeping, cut=5)
    again = go(tmp_path, lambda parameters: Keeping(parameters, scale=0.5))
    assert (again["optimizer"].scale, again["optimizer"].count) == (0.5, 9)


def test_what_an_optimizer_keeps_goes_back_to_what_it_was_at_first():
    model = torch.nn.Linear(2, 1)
    objects = {"model": model, "optimizer": Keeping(model.parameters())}
    at_first = state.capture(objects)
    model(torch.ones(1, 2)).sum().backward()
    objects["optimizer"].step()
    state.restore(at_first, objects)
    kept = objects["optimizer"]
    assert (kept.count, kept.counts, float(kept.total), kept.table.tolist()) == (0, [], 0.0, [0.0, 0.0])


class StepsOnce(torch.optim.Optimizer):  # of one test alone: torch replaces its step once
    def __init__(self, inside: torch.optim.Optimizer) -> None:
        self._optimizer_step_pre_hooks: Any = OrderedDict()
        self._optimizer_step_post_hooks: Any = OrderedDict()
        self.inside, self.param_groups, self.defaults = inside, inside.param_groups, inside.defaults
        self.state: Any = defaultdict(dict)

    def step(self, closure=None):  # type: ignore[override]
        return self.inside.step(closure)

    def state_dict(self):
        return self.inside.state_dict()

    def load_state_dict(self, state_dict):
        self.inside.load_state_dict(state_dict)
        self.param_groups = self.inside.param_groups


def test_the_step_that_torch_replaces_in_the_class_of_one_without_init_is_no_change_of_the_script(
    tmp_path, caplog
):
    model = torch.nn.Linear(2, 1)
    optimizer = StepsOnce(torch.optim.Adam(model.parameters()))
    with Run(
        tmp_path, {"model": model, "optimizer": optimizer}, checkpointing=Checkpointing(save_on="batch_end")
    ) as run:
        for _ in run.steps(3):
            optimizer.zero_grad()
            model(torch.ones(4, 2)).sum().backward()
            optimizer.step()
    assert "not saved" not in caplog.text
