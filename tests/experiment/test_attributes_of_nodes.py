"""What a model keeps for itself, outside of its `state_dict`, comes back with an experiment."""

from __future__ import annotations

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


def made(directory, *callbacks):
    torch.manual_seed(0)
    graph = ModelGraph(
        [ModelNode("model", Warming(), "pixels")],
        optimizer=lambda parameters: torch.optim.Adam(parameters, 0.01),
    )
    loss = Loss("loss", torch.nn.functional.cross_entropy, output="model", target="digit")
    phase = train(losses=[loss], checkpointing=on_disk("batch_end"))
    return experiment(directory, phase, graph=graph, callbacks=callbacks)


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
