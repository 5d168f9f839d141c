"""XGBoost: a booster by its model, as XGBoost's own binary JSON, and by its settings."""

from ._booster import ADAPTERS

__all__ = [
    "ADAPTERS",
]
