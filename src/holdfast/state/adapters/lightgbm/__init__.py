"""LightGBM: a booster by its model, as LightGBM's own text."""

from ._booster import ADAPTERS

__all__ = [
    "ADAPTERS",
]
