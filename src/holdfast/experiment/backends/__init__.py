"""Frameworks a graph's nodes may come from: each public module here adapts the framework it is named after."""

from ._arrays import How as How
from ._dispatch import is_tensor as is_tensor
from ._dispatch import merge as merge
from ._dispatch import to_numpy as to_numpy
from ._protocol import Backend as Backend
from ._protocol import backend_of as backend_of

__all__ = [
    "Backend",
    "How",
    "backend_of",
    "is_tensor",
    "merge",
    "to_numpy",
]
