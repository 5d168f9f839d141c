"""torch modules as nodes.

What enters a module: tensors keep their dtype; NumPy floats take the module's floating dtype (so that
float64 columns feed float32 layers), integers and bools stay. All are brought to the module's device.
NumPy arrays are copied: a module that works in place must not change the dataset.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch.optim import Optimizer

from ...errors import GraphError
from ._arrays import How, to_host

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
    array = to_host(value)
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
