"""torch: tensors, also sparse and nested ones, its random generators, its sizes, element types and devices."""

import torch

from ..values import Value
from ._generator import Generator
from ._memory import make_tensor
from ._tensors import NESTED, SPARSE, Tensor

_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}

ADAPTERS = (
    Tensor(),
    SPARSE,
    NESTED,
    Generator(),
    Value(torch.Size, list, torch.Size),
    Value(torch.dtype, str, _DTYPES.__getitem__),
    Value(torch.device, str, torch.device),
)
MAKERS = {"torch": make_tensor}

__all__ = [
    "ADAPTERS",
    "MAKERS",
]
