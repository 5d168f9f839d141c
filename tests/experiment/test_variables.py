"""What an experiment's own functions keep outside of the graph: saved and put back, or named."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast import Checkpointing
from holdfast.experiment import Callback, Experiment, Loss, ModelGraph, ModelNode, TrainPhase

INPUTS = np.random.default_rng(0).normal(size=(24, 2)).astype("float32")
DATA = {"x": INPUTS, "y": INPUTS[:, :1] - INPUTS[:, 1:]}


@pytest.fixture(autouse=True)
def failures_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.variables import _guard

    monkeypatch.setattr(_guard, "raises", True)


class Stop(Callback):
    def __init__(self, at: int | None) -> None:
        self.at = at

    def on_batch_end(self, context: Any) -> None:
        if context.moment.step == self.at:
            raise InterruptedError


def a_graph() -> ModelGraph:
    torch.manual_seed(0)
    return ModelGraph(
        [ModelNode("net", torch.nn.Linear(2, 1), "x")], optimizer=lambda each: torch.optim.SGD(each, lr=0.1)
    )


def experiment(directory: Path, stop: int | None, graph: ModelGraph, step: Any, **more: Any) -> Experiment:
    callbacks = [*more.pop("callbacks", ()), Stop(stop)]
    policy = Checkpointing(mode="disk", save_on="batch_end")
    phase = TrainPhase(
        "train",
        data=DATA,
        n_epochs=4,
        batch_size=4,
        shuffle=True,
        checkpointing=policy,
        step=step,
        callbacks=callbacks,
        **more,
    )
    return Experiment("study", graph, directory=directory).add(phase)


def update(graph: ModelGraph, batch: Any, factor: float) -> float:
    (optimizer,) = graph.optimizers
    optimizer.zero_grad()
    loss = factor * (graph.forward(batch)["net"] - torch.as_tensor(batch["y"])).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def with_a_closure(directory: Path, stop: int | None) -> Experiment:
    graph, step = a_graph(), a_step()
    return experiment(directory, stop, graph, step)


def a_step() -> Any:
    """Its frame is gone when the experiment runs."""
    seen, recent = 0, deque(maxlen=3)

    def step(graph: ModelGraph, batch: Any) -> dict[str, float]:
        nonlocal seen
        seen += 1
        loss = update(graph, batch, 1 / (1 + 0.1 * seen + sum(recent)))
        recent.append(loss)
        return {"loss": loss}

    return step


def with_a_decorated_function(directory: Path, stop: int | None) -> Experiment:
    graph, step = a_graph(), torch.enable_grad()(a_step())
    return experiment(directory, stop, graph, step)


def with_attributes_and_defaults(directory: Path, stop: int | None) -> Experiment:
    def step(graph: ModelGraph, batch: Any, kept: list[float] = []) -> dict[str, float]:  # noqa: B006
        step.calls = getattr(step, "calls", 0) + 1  # type: ignore[attr-defined]
        kept.append(update(graph, batch, 1 / (step.calls + sum(kept))))  # type: ignore[attr-defined]
        return {"loss": kept[-1]}

    return experiment(directory, stop, a_graph(), step)


class Trainer:
    def __init__(self) -> None:
        self.momentum, self.hidden = 1.0, torch.zeros(2)

    def step(self, graph: ModelGraph, batch: Any) -> dict[str, float]:
        self.momentum *= 0.9
        self.hidden = torch.tanh(self.hidden + torch.as_tensor(batch["x"]).mean(0))
        return {"loss": update(graph, batch, self.momentum + self.hidden.sum().item() ** 2)}


def with_a_method(directory: Path, stop: int | None) -> Experiment:
    return experiment(directory, stop, a_graph(), Trainer().step)


class Anneal(Callback):
    """A callback that does not say that it keeps something."""

    def __init__(self) -> None:
        self.rate = 0.2

    def on_batch_end(self, context: Any) -> None:
        self.rate *= 0.9
        context.graph.optimizers[0].param_groups[0]["lr"] = self.rate


def with_a_forgetful_callback(directory: Path, stop: int | None) -> Experiment:
    graph = a_graph()
    losses = [Loss("mse", torch.nn.functional.mse_loss, output="net", target="y")]
    return experiment(directory, stop, graph, None, losses=losses, callbacks=[Anneal()])


CASES = [
    with_a_closure,
    with_a_decorated_function,
    with_attributes_and_defaults,
    with_a_method,
    with_a_forgetful_callback,
]


@pytest.mark.medium
@pytest.mark.parametrize("build", CASES)
@pytest.mark.parametrize("stop", [3, 14])
def test_what_the_functions_of_a_plan_keep_comes_back(build: Any, stop: int, tmp_path: Path):
    wanted = build(tmp_path / "uninterrupted", None)
    wanted.run(progress=False)
    with pytest.raises(InterruptedError):
        build(tmp_path / "interrupted", stop).run(progress=False)
    found = build(tmp_path / "interrupted", None)
    found.run(resume=True, progress=False)
    assert found.state_digest() == wanted.state_digest()
    assert found.last_resume is not None
    assert found.last_resume.verdict == "exact"


@pytest.mark.medium
@pytest.mark.parametrize("build", CASES)
def test_without_them_it_is_another_run_and_the_verdict_names_them(build: Any, tmp_path: Path):
    def left_out(directory: Path, stop: int | None) -> Experiment:
        made = build(directory, stop)
        made.variables = "watch"
        return made

    wanted = left_out(tmp_path / "uninterrupted", None)
    wanted.run(progress=False)
    with pytest.raises(InterruptedError):
        left_out(tmp_path / "interrupted", 14).run(progress=False)
    found = left_out(tmp_path / "interrupted", None)
    found.run(resume=True, progress=False)
    assert found.state_digest() != wanted.state_digest()
    assert found.last_resume is not None
    assert found.last_resume.verdict.startswith("exact but for: ")


def test_an_iterator_that_a_step_takes_from_is_named_and_can_be_ignored(tmp_path: Path):
    def build(stop: int | None) -> Experiment:
        noise = iter(range(100))

        def step(graph: ModelGraph, batch: Any) -> dict[str, float]:
            return {"loss": update(graph, batch, 1 / (1 + next(noise)))}

        return experiment(tmp_path, stop, a_graph(), step)

    with pytest.raises(InterruptedError):
        build(5).run(progress=False)
    named = build(9)
    with pytest.raises(InterruptedError):
        named.run(resume=True, progress=False)
    assert named.last_resume is not None
    assert named.last_resume.verdict == "exact but for: noise"
    ignoring = build(None)
    ignoring.ignore("noise")
    ignoring.run(resume=True, progress=False)


def test_a_rollback_takes_them_back_too(tmp_path: Path):
    seen: list[int] = []
    rolled_back: list[int] = []

    class Count(Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_batch_start(self, context: Any) -> None:
            self.count += 1
            seen.append(self.count)

        def on_rollback(self, context: Any) -> None:
            rolled_back.append(self.count)

    counting = Count()
    hurt = iter([False] * 5 + [True])

    def step(graph: ModelGraph, batch: Any) -> dict[str, float]:
        return {"loss": update(graph, batch, float("nan") if next(hurt, False) else 1.0)}

    policy = Checkpointing(mode="disk", save_on="batch_end", on_divergence="rollback")
    phase = TrainPhase(
        "train", data=DATA, n_epochs=2, batch_size=4, checkpointing=policy, step=step, callbacks=[counting]
    )
    running = Experiment("study", a_graph(), directory=tmp_path)
    running.ignore("seen", "hurt")
    running.add(phase).run(progress=False)
    assert rolled_back
    assert counting.count == 12
