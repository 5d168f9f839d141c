"""Optimizers and learning-rate schedulers of PyTorch."""

from .optimizers import ADAPTERS as _OPTIMIZERS
from .optimizers import inner_optimizers, laid_out_as, lay_out
from .own import ADAPTERS as _OWN

__all__ = [
    "ADAPTERS",
    "inner_optimizers",
    "laid_out_as",
    "lay_out",
]

ADAPTERS = (*_OPTIMIZERS, *_OWN)
