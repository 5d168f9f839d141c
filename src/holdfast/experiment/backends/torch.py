"""torch modules as nodes, and the steps of an optimizer on a graph.

What enters a module: tensors keep their dtype; NumPy floats take the module's floating dtype (so that
float64 columns feed float32 layers), integers and bools stay. All are brought to the module's device.
NumPy arrays are copied: a module that works in place must not change the dataset.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ... import paths
from ...errors import GraphError
from ._arrays import How
from ._arrays import to_numpy as host_array

if TYPE_CHECKING:
    from .._graph import ModelGraph


# --- models -----------------------------------------------------------------------------------------


def owns(model: Any) -> bool:
    return isinstance(model, torch.nn.Module)


def place(model: torch.nn.Module, device: Any) -> None:
    model.to(device)


def parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return list(model.parameters())


def set_training(model: torch.nn.Module, training: bool) -> None:
    model.train(training)


def forward(model: torch.nn.Module, inputs: Sequence[Any], *, method: str | None, device: Any) -> Any:
    """`model(*inputs)`, or that method of it.

    Raises:
        GraphError: the module has no such method.
    """
    if method is not None and not hasattr(model, method):
        raise GraphError(f"{type(model).__name__} has no method {method!r}")
    first = next(model.parameters(), None)
    device = device if device is not None or first is None else first.device
    floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    tensors = [to_tensor(value, device=device, floating=floating) for value in inputs]
    return model(*tensors) if method is None else getattr(model, method)(*tensors)


def fit(model: torch.nn.Module, inputs: Sequence[Any], target: Any | None) -> None:
    raise GraphError("torch modules are trained by gradients: use a TrainPhase for this node")


# --- arrays -----------------------------------------------------------------------------------------


def to_tensor(value: Any, *, device: Any = None, floating: torch.dtype | None = None) -> torch.Tensor:
    """`value` as a tensor on `device` (None: where it is; the CPU for arrays).

    `floating` is the dtype that floats of other frameworks take; tensors always keep theirs.
    """
    if isinstance(value, torch.Tensor):
        return value if device is None else value.to(device)
    array = host_array(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return torch.tensor(array, dtype=floating if array.dtype.kind == "f" else None, device=device)


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The tensor's values on the host; bfloat16 and float8, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()


def merge(values: Sequence[Any], how: How, axis: int, device: Any) -> torch.Tensor:
    """`values` side by side along `axis`, or summed, on the device of the first tensor among them."""
    first = next(value for value in values if isinstance(value, torch.Tensor))
    device = first.device if device is None else device
    floating = first.dtype if first.is_floating_point() else None
    tensors = [to_tensor(value, device=device, floating=floating) for value in values]
    return torch.cat(tensors, dim=axis) if how == "concat" else sum(tensors[1:], start=tensors[0])


# --- training ---------------------------------------------------------------------------------------


def make_optimizer(factory: Callable[[list[Any]], Any], over: list[Any], where: str) -> Optimizer:
    """The optimizer that `factory` makes over these parameters; `where` names it in errors.

    Raises:
        GraphError: there are no parameters, it makes something else, or its `step` needs a closure.
    """
    if not over:
        raise GraphError(f"{where}: it has no parameters for its optimizer")
    optimizer = factory(over)
    if not isinstance(optimizer, Optimizer):
        raise GraphError(f"{where}: optimizer= must make a torch optimizer, not a {type(optimizer).__name__}")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise GraphError(
            f"{where}: {type(optimizer).__name__} needs a closure, which a TrainPhase cannot give"
        )
    return optimizer


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
    """One update of all optimizers from the accumulated gradients, which are then cleared.

    Unscales, clips the norm over all parameters together to `clip_norm`, steps, updates the scaler.
    Returns False if the scaler skipped the update because a gradient was not finite.

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
                raise GraphError("ReduceLROnPlateau follows a metric: name that metric")
            scheduler.step(metric)
        case scheduler:
            scheduler.step()


def gradients(graph: ModelGraph) -> dict[str, torch.Tensor]:
    """The gradients there are, by parameter path (`encoder/0.weight`); live, not copies."""
    return {path: p.grad for path, p in _named_parameters(graph).items() if p.grad is not None}


def set_gradients(graph: ModelGraph, saved: Mapping[str, Any]) -> None:
    """Put copies of saved gradients back; parameters that are not named have none afterwards.

    Raises:
        GraphError: a path names no parameter, or one of another shape; nothing was changed.
    """
    named = _named_parameters(graph)
    for path, gradient in saved.items():
        if path not in named:
            raise GraphError(f"there is no parameter {path!r} for this gradient")
        if named[path].shape != gradient.shape:
            raise GraphError(
                f"parameter {path!r} has shape {tuple(named[path].shape)}, its gradient {tuple(gradient.shape)}"
            )
    if saved and graph.scaler is not None:
        graph.scaler.scale(torch.zeros((), device=next(iter(named.values())).device))  # makes its own tensors
    for path, parameter in named.items():
        gradient = saved.get(path)
        parameter.grad = None if gradient is None else to_tensor(gradient).to(parameter, copy=True)


def _named_parameters(graph: ModelGraph) -> dict[str, torch.nn.Parameter]:
    """Every parameter once, under the first path that leads to it."""
    first_path: dict[torch.nn.Parameter, str] = {}
    for node in graph.model_nodes:
        if owns(node.model):
            for name, parameter in node.model.named_parameters():
                first_path.setdefault(parameter, paths.child(node.label, name))
    return {path: parameter for parameter, path in first_path.items()}


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])
