"""CatBoost: an estimator by its parameters and its model, in CatBoost's own format."""

from ._estimator import ADAPTERS

__all__ = [
    "ADAPTERS",
]
