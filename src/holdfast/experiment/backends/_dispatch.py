"""Arrays on their way between frameworks; tensors are left to the torch backend."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import GraphError
from ._arrays import How, to_host


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """`value` as a NumPy array of the same shape; tensors are detached and brought to the host."""
    if is_tensor(value):
        from . import torch as torch_backend

        return torch_backend.to_numpy(value)
    return to_host(value)


def merge(values: Sequence[Any], how: How, axis: int, device: Any = None) -> Any:
    """`values` concatenated along `axis`, or summed (shapes broadcast); a tensor if one of them is.

    Raises:
        GraphError: their shapes do not go together.
    """
    try:
        if any(is_tensor(value) for value in values):
            from . import torch as torch_backend

            return torch_backend.merge(values, how, axis, device)
        arrays = [to_numpy(value) for value in values]
        return np.concatenate(arrays, axis=axis) if how == "concat" else sum(arrays[1:], start=arrays[0])
    except (ValueError, RuntimeError, IndexError) as err:
        shapes = ", ".join(str(tuple(np.shape(value))) for value in values)
        raise GraphError(f"cannot {how} arrays of shapes {shapes} along axis {axis}: {err}") from err
