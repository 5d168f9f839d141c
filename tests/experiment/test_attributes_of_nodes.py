"""What a model keeps for itself, outside of its `state_dict`, comes back with an experiment."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch

from holdfast import Loss, ModelGraph, ModelNode
from tests.support.small_runs import At, experiment, on_disk, train


class Warming(torch.nn.Linear):
    """Its output grows with the number of its calls, which it counts itself."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.calls = 0
        self.register_buffer("n", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.calls += 1
            self.n += 1
        return super().forward(x) * (1 + 0.01 * self.calls + 0.01 * self.n)


class Remembering(torch.nn.Linear):
    """Adds noise of its own generator, and the mean of the outputs that it has seen last."""

    def __init__(self, stream: Any = None) -> None:
        super().__init__(4, 3)
        self.recent: deque[float] = deque(maxlen=3)
        self.table, self.draws, self.stream = np.zeros(3), np.random.default_rng(0), stream

    def forward(self, x):
        out = super().forward(x)
        if self.training:
            self.recent.append(out.mean().item())
            self.table[len(self.recent) - 1] += self.draws.normal()
            out = (
                out + sum(self.recent) + self.table.sum() + (0 if self.stream is None else next(self.stream))
            )
        return out


def made(directory, *callbacks, model=Warming):
    torch.manual_seed(0)
    graph = ModelGraph(
        [ModelNode("model", model(), "pixels")],
        optimizer=lambda parameters: torch.optim.Adam(parameters, 0.01),
    )
    loss = Loss("loss", torch.nn.functional.cross_entropy, output="model", target="digit")
    phase = train(losses=[loss], checkpointing=on_disk("batch_end"))
    return experiment(directory, phase, graph=graph, callbacks=callbacks)


@pytest.mark.medium
def test_counters_of_a_node_come_back(tmp_path):
    uninterrupted = made(tmp_path / "a", At("batch_end", 9, do=InterruptedError()))
    uninterrupted.run(progress=False)
    with pytest.raises(InterruptedError):
        made(tmp_path / "b", At("batch_end", 1, 2, do=InterruptedError())).run(progress=False)
    again = made(tmp_path / "b", At("batch_end", 9, do=InterruptedError()))
    again.run(resume=True, progress=False)
    assert again.last_resume is not None
    assert again.last_resume.record.moment.step == 7
    assert again.last_resume.verdict == "exact"
    assert again.graph["model"].model.calls == 15
    assert torch.equal(again.graph["model"].model.weight, uninterrupted.graph["model"].model.weight)
    assert again.state_digest() == uninterrupted.state_digest()


def inside_another():
    return torch.nn.Sequential(Remembering())


@pytest.mark.parametrize("model", [Remembering, inside_another])
def test_what_a_node_keeps_that_no_function_of_the_plan_reaches_comes_back(model, tmp_path):
    uninterrupted = made(tmp_path / "a", At("batch_end", 9, do=InterruptedError()), model=model)
    uninterrupted.run(progress=False)
    with pytest.raises(InterruptedError):
        made(tmp_path / "b", At("batch_end", 1, 2, do=InterruptedError()), model=model).run(progress=False)
    again = made(tmp_path / "b", At("batch_end", 9, do=InterruptedError()), model=model)
    again.run(resume=True, progress=False)
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    then, now = (next(iter(each.graph["model"].model.parameters())) for each in (uninterrupted, again))
    assert torch.equal(now, then)
    assert again.state_digest() == uninterrupted.state_digest()


def test_what_a_node_keeps_and_cannot_be_saved_is_named(tmp_path):
    def model():
        return Remembering(iter(range(100)))

    with pytest.raises(InterruptedError):
        made(tmp_path, At("batch_end", 1, 2, do=InterruptedError()), model=model).run(progress=False)
    again = made(tmp_path, At("batch_end", 9, do=InterruptedError()), model=model)
    again.run(resume=True, progress=False)
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact but for: model.stream"
