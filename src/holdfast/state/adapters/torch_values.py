"""Sizes, element types and devices of torch, as optimizers and configurations hold them."""

from __future__ import annotations

import torch

from .values import Value

_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}

ADAPTERS = (
    Value(torch.Size, list, torch.Size),
    Value(torch.dtype, str, _DTYPES.__getitem__),
    Value(torch.device, str, torch.device),
)
