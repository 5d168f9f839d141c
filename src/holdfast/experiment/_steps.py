"""The steps of an optimizer on a graph of torch modules; imported only once torch is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..errors import GraphError
from ..runtime import torch_updates
from ._graph import ModelGraph


def backward(graph: ModelGraph, loss: torch.Tensor) -> None:
    """Add the gradients of `loss` (a scalar), scaled if the graph has a scaler.

    Raises:
        GraphError: the loss depends on no parameter that is trained.
    """
    if not (isinstance(loss, torch.Tensor) and loss.requires_grad):
        raise GraphError(
            "the loss depends on no trainable parameter: is every node before it frozen or fitted?"
        )
    (loss if graph.scaler is None else graph.scaler.scale(loss)).backward()


def optimizer_step(graph: ModelGraph, clip_norm: float | None = None) -> bool:
    """One update of all optimizers from the gradients there are; then no gradient is left.

    Unscales, clips the norm over all parameters together to `clip_norm`, steps, updates the scaler.
    Answers False if the scaler skipped the update because a gradient was not finite.

    Raises:
        GraphError: the graph is missing an optimizer.
    """
    graph.require_optimizer()
    scaler = graph.scaler
    active = [optimizer for optimizer in graph.optimizers if _has_gradients(optimizer)]
    if clip_norm is not None:
        if scaler is not None:
            for optimizer in active:
                scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(graph.parameters(), clip_norm)
    scale = 0.0 if scaler is None else scaler.get_scale()
    for optimizer in graph.optimizers:
        # Where all is frozen there is no gradient: a scaler refuses to step, and a schedule wants to see a step.
        if scaler is not None and optimizer in active:
            scaler.step(optimizer)
        else:
            optimizer.step()
    if scaler is not None and active:
        scaler.update()
    graph.zero_grad()
    return scaler is None or scaler.get_scale() >= scale


def scheduler_step(graph: ModelGraph, metric: float | None = None) -> None:
    """Advance the learning-rate schedule; nothing without one.

    Raises:
        GraphError: the schedule follows a metric (`ReduceLROnPlateau`) and none was given.
    """
    match graph.scheduler:
        case None:
            return
        case ReduceLROnPlateau() as scheduler:
            if metric is None:
                raise GraphError("ReduceLROnPlateau follows a metric: name the one it should monitor")
            scheduler.step(metric)
        case scheduler:
            torch_updates.let_schedules_move(graph.optimizers)
            scheduler.step()


def gradients(graph: ModelGraph) -> dict[str, torch.Tensor]:
    """The gradients there are, by parameter path (`encoder/0.weight`); live, not copies."""
    return {path: p.grad for path, p in _named_parameters(graph).items() if p.grad is not None}


def set_gradients(graph: ModelGraph, saved: Mapping[str, Any]) -> None:
    """Put copies of saved gradients back; parameters that are not named have none afterwards.

    Raises:
        StateMismatchError: a path names no parameter, or one of another shape; nothing was changed.
    """
    parameters = _named_parameters(graph)
    torch_updates.set_gradients(parameters, saved)
    if saved and graph.scaler is not None:
        device = next(iter(parameters.values())).device
        graph.scaler.scale(torch.zeros((), device=device))  # makes its own tensors


def _named_parameters(graph: ModelGraph) -> dict[str, torch.Tensor]:
    return torch_updates.named_parameters({node.label: node.model for node in graph.model_nodes})


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])
