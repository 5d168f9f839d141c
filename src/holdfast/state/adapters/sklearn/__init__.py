"""scikit-learn estimators as arrays and plain data: no pickle, and only classes of a closed table."""

from ._estimator import ADAPTERS

__all__ = [
    "ADAPTERS",
]
