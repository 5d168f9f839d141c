"""Gradients, optimizers, scaler and schedule of a graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.errors import GraphError, StateMismatchError
from holdfast.experiment import ModelGraph, ModelNode
from holdfast.experiment import _steps as steps

BATCH = {"x": torch.ones(4, 2)}


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.5)


def build(**options) -> ModelGraph:
    torch.manual_seed(0)
    return ModelGraph([ModelNode("a", nn.Linear(2, 2), "x"), ModelNode("b", nn.Linear(2, 1), "a")], **options)


def backward(graph: ModelGraph, factor: float = 1.0) -> None:
    steps.backward(graph, factor * graph.forward(BATCH)["b"].sum())


def weights(graph: ModelGraph) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in graph.parameters()]


def test_a_step_is_the_optimizers_own_and_leaves_no_gradient():
    graph, plain = build(optimizer=sgd), build()
    backward(graph)
    assert steps.optimizer_step(graph)
    backward(plain)
    sgd(plain.parameters()).step()
    assert all(map(torch.equal, weights(graph), weights(plain)))
    assert all(parameter.grad is None for parameter in graph.parameters())


@pytest.mark.parametrize("scaler", [None, torch.amp.GradScaler("cpu", init_scale=1024.0)])
def test_gradients_are_clipped_together_after_unscaling(scaler):
    graph = build(optimizer=sgd, scaler=scaler)
    before = weights(graph)
    backward(graph, 1000)
    steps.optimizer_step(graph, clip_norm=2.0)
    moved = torch.cat([(new - old).flatten() for new, old in zip(weights(graph), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.5 * 2.0, rel=1e-4)


def test_a_scaler_skips_a_step_with_infinite_gradients_and_says_so():
    graph = build(optimizer=sgd, scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
    before = weights(graph)
    backward(graph, float("inf"))
    assert not steps.optimizer_step(graph)
    assert all(map(torch.equal, weights(graph), before))
    assert graph.scaler.get_scale() == 512
    backward(graph)
    assert steps.optimizer_step(graph)


@pytest.mark.parametrize("scaler", [None, torch.amp.GradScaler("cpu")])
def test_a_frozen_nodes_own_optimizer_does_no_harm(scaler):
    graph = ModelGraph(
        [
            ModelNode("a", nn.Linear(2, 2), "x", optimizer=sgd, frozen=True),
            ModelNode("b", nn.Linear(2, 1), "a", optimizer=sgd),
        ],
        scaler=scaler,
    )
    before = weights(graph)
    backward(graph)
    assert steps.optimizer_step(graph, clip_norm=1.0)
    assert [torch.equal(*pair) for pair in zip(weights(graph), before, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_loss_that_can_train_nothing_is_refused():
    graph = build(optimizer=sgd)
    graph.freeze("a", "b")
    with pytest.raises(GraphError, match="depends on no trainable parameter"):
        backward(graph)
    with pytest.raises(GraphError, match="depends on no trainable parameter"):
        steps.backward(graph, 0.5)  # type: ignore[arg-type]


def test_training_without_an_optimizer_says_what_is_missing():
    graph = build()
    backward(graph)
    with pytest.raises(GraphError, match="missing an optimizer: pass one to ModelGraph or to a ModelNode"):
        steps.optimizer_step(graph)


def test_a_schedule_that_follows_a_metric_needs_one():
    graph = build(
        optimizer=sgd,
        scheduler=lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0, factor=0.1
        ),
    )
    with pytest.raises(GraphError, match="ReduceLROnPlateau follows a metric"):
        steps.scheduler_step(graph)
    steps.scheduler_step(graph, 1.0)
    steps.scheduler_step(graph, 2.0)
    assert graph.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05)
    steps.scheduler_step(build())  # no schedule: nothing happens


def test_gradients_that_belong_to_another_graph_are_refused_and_change_nothing():
    graph = build()
    backward(graph)
    there = steps.gradients(graph)
    assert list(there) == ["a/weight", "a/bias", "b/weight", "b/bias"]
    for wrong in ({"a/weight": torch.ones(3, 3)}, {"c/weight": torch.ones(2, 2)}):
        with pytest.raises(StateMismatchError, match=r"[ac]/weight"):
            steps.set_gradients(graph, wrong)
    assert steps.gradients(graph).keys() == there.keys()


def test_gradients_put_back_are_copies_and_the_others_are_gone():
    graph = build()
    backward(graph)
    saved = {"b/weight": torch.full((1, 2), 3.0)}
    steps.set_gradients(graph, saved)
    graph["b"].model.weight.grad += 1
    assert steps.gradients(graph).keys() == saved.keys()
    assert saved["b/weight"].tolist() == [[3.0, 3.0]]
