"""Frameworks a graph's nodes may come from: each public module here adapts the framework it is named after."""

from ._arrays import merge as merge
from ._arrays import to_numpy as to_numpy
from ._protocol import Backend as Backend
from ._protocol import backend_of as backend_of

__all__ = [
    "Backend",
    "backend_of",
    "merge",
    "to_numpy",
]
