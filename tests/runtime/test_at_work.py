"""What trains along with a run and was not handed over is named once, and no resume from its checkpoints is called exact."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import Checkpointing, Run, Write

SGD = torch.optim.SGD


class Script:
    """A training of six steps that hands over what `handed` names of its attributes."""

    def __init__(self, *handed: str) -> None:
        torch.manual_seed(0)
        self.handed = handed
        self.model, self.head = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)
        self.optimizer: Any = SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.schedule: Any = None
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.after_step: Callable[[int], None] = lambda step: None

    def run(self, directory: Path, cut: int | None = None) -> Run:
        policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
        objects = {name: getattr(self, name) for name in self.handed}
        with (
            suppress(InterruptedError),
            Run(directory, objects, checkpointing=policy, variables="off") as run,
        ):
            for step in run.steps(6):
                if step == cut:
                    raise InterruptedError
                self.optimizer.zero_grad()
                self.scaler.scale(self.head(self.model(torch.randn(4, 3))).square().mean()).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                if self.schedule is not None:
                    self.schedule.step()
                self.after_step(step)
        return run


def head_forgotten() -> Script:
    made = Script("model", "optimizer")
    made.optimizer = SGD([*made.model.parameters(), *made.head.parameters()], 0.1)
    return made


def schedule_forgotten() -> Script:
    made = Script("model", "optimizer")
    made.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(made.optimizer, 6)
    return made


def scaler_forgotten() -> Script:
    made = Script("model", "optimizer")
    made.scaler = torch.amp.GradScaler("cpu", growth_interval=2)
    return made


def second_optimizer_forgotten() -> Script:
    made = Script("model", "optimizer", "head")
    second = torch.optim.Adam(made.head.parameters(), 0.1)
    made.after_step = lambda step: second.step()
    return made


def replaced_in_mid_run() -> Script:
    made = Script("model", "optimizer")

    def replace(step: int) -> None:
        if step == 1:
            made.optimizer = torch.optim.Adam(made.model.parameters(), 0.1)

    made.after_step = replace
    return made


FORGOTTEN = {
    head_forgotten: "'optimizer' trains parameters that no object of the run holds: 2, of shape [1, 3], [1]",
    schedule_forgotten: "a schedule drives 'optimizer' and is not in the run",
    scaler_forgotten: "a GradScaler scales the gradients and is not in the run",
    second_optimizer_forgotten: "an optimizer (Adam) trains and is not in the run",
    replaced_in_mid_run: "an optimizer (Adam) trains and is not in the run",
}


@pytest.mark.parametrize("make", FORGOTTEN)
def test_it_is_named_once_and_no_resume_is_exact(make, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "holdfast"):
        make().run(tmp_path, cut=5)
    assert [line.partition(", so that")[0] for line in caplog.messages] == [FORGOTTEN[make]]
    report = make().run(tmp_path).last_resume
    assert report is not None
    assert report.verdict == f"not exact: {FORGOTTEN[make]}"
    assert report.differences[0] == FORGOTTEN[make]


@pytest.mark.parametrize("make", [second_optimizer_forgotten, scaler_forgotten])
def test_what_shows_only_after_the_resume_is_added_to_the_report(make, tmp_path):
    make().run(tmp_path, cut=1)
    report = make().run(tmp_path).last_resume
    assert report is not None
    assert report.verdict == f"not exact: {FORGOTTEN[make]}"


@pytest.mark.parametrize("make", [head_forgotten, schedule_forgotten])
def test_what_is_known_from_the_start_is_named_before_the_first_step(make, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "holdfast"):
        make().run(tmp_path, cut=0)
    assert len(caplog.messages) == 1


class Trainer:
    """Saves itself, with all that trains."""

    def __init__(self, script: Script) -> None:
        self.model, self.head = script.model, script.head
        self.optimizers, self.schedule = [script.optimizer], script.schedule

    def state_dict(self) -> dict[str, Any]:
        parts = {"model": self.model, "head": self.head, "schedule": self.schedule}
        states = {name: part.state_dict() for name, part in parts.items()}
        return states | {"optimizers": [each.state_dict() for each in self.optimizers]}

    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


def all_handed() -> Script:
    made = Script("model", "head", "optimizer", "schedule", "scaler")
    made.optimizer = SGD([*made.model.parameters(), *made.head.parameters()], 0.1)
    parts = [
        torch.optim.lr_scheduler.ConstantLR(made.optimizer),
        torch.optim.lr_scheduler.StepLR(made.optimizer, 2),
    ]
    made.schedule = torch.optim.lr_scheduler.SequentialLR(made.optimizer, parts, [2])
    made.scaler = torch.amp.GradScaler("cpu", growth_interval=2)
    return made


def inside_an_object_that_saves_itself() -> Script:
    made = schedule_forgotten()
    made.handed, made.trainer = ("trainer",), Trainer(made)  # type: ignore[attr-defined]
    return made


def in_containers() -> Script:
    made = all_handed()
    made.handed = ("all",)
    made.all = {"models": [made.model, made.head], "rest": (made.optimizer, made.schedule, made.scaler)}  # type: ignore[attr-defined]
    return made


def optimizers_of_a_moment() -> Script:
    """Each step trains a probe of its own."""
    made = Script("model", "head", "optimizer")

    def probe(step: int) -> None:
        probe = torch.nn.Linear(3, 1)
        optimizer = SGD(probe.parameters(), 0.1)
        for _ in range(3):
            probe(torch.ones(2, 3)).sum().backward()
            optimizer.step()

    made.after_step = probe
    return made


@pytest.mark.parametrize(
    "make", [all_handed, inside_an_object_that_saves_itself, in_containers, optimizers_of_a_moment]
)
def test_what_is_handed_over_or_lives_a_moment_is_not_named(make, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "holdfast"):
        make().run(tmp_path)
    assert caplog.messages == []


def test_nothing_is_watched_after_the_end(tmp_path):
    optimizer: Any = importlib.import_module("torch.optim.optimizer")

    before = len(optimizer._global_optimizer_post_hooks)
    all_handed().run(tmp_path)
    all_handed().run(tmp_path, cut=0)
    assert len(optimizer._global_optimizer_post_hooks) == before


def test_each_of_several_optimizers_in_a_container_is_looked_at(tmp_path, caplog):
    made = Script("model", "head", "optimizers")
    second = SGD(made.head.parameters(), 0.1)
    made.optimizers = [made.optimizer, {"second": second}]  # type: ignore[attr-defined]
    schedule = torch.optim.lr_scheduler.StepLR(second, 2)

    def after_step(step: int) -> None:
        second.step()
        schedule.step()

    made.after_step = after_step
    with caplog.at_level(logging.WARNING, "holdfast"):
        made.run(tmp_path)
    assert [line.partition(", so that")[0] for line in caplog.messages] == [
        "a schedule drives 'optimizers/1/second' and is not in the run"
    ]


def test_a_tensor_that_was_handed_over_as_it_is_may_be_trained(tmp_path, caplog):
    coefficient = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([coefficient])
    with (
        caplog.at_level(logging.WARNING, "holdfast"),
        Run(tmp_path, {"coefficient": coefficient, "optimizer": optimizer}) as run,
    ):
        for _ in run.steps(3):
            optimizer.zero_grad()
            coefficient.square().sum().backward()
            optimizer.step()
    assert caplog.messages == []
