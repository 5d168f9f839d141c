"""scikit-learn estimators as nodes: fitted to complete columns, then applied batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from ...errors import GraphError
from ._dispatch import to_numpy


def owns(model: Any) -> bool:
    """Estimators, pipelines, and compatible estimators of other libraries."""
    if isinstance(model, type):
        return False
    return isinstance(model, BaseEstimator) or (hasattr(model, "fit") and hasattr(model, "get_params"))


def place(model: Any, device: Any) -> None:
    """Estimators live in host memory."""


def parameters(model: Any) -> list[Any]:
    return []


def set_training(model: Any, training: bool) -> None:
    """Estimators behave the same in both modes."""


def forward(model: Any, inputs: Sequence[Any], *, method: str | None, device: Any) -> Any:
    """The estimator's answer by `method`; by default `predict`, or `transform` if it has no `predict`.

    Raises:
        GraphError: the estimator has no such method, or is not fitted yet.
    """
    name = method or ("predict" if hasattr(model, "predict") else "transform")
    if not hasattr(model, name):
        raise GraphError(f"{type(model).__name__} has no method {name!r}")
    try:
        return getattr(model, name)(_features(inputs))
    except NotFittedError as err:
        raise GraphError(f"{type(model).__name__} is not fitted yet: run a FitPhase for it first") from err


def fit(model: Any, inputs: Sequence[Any], target: Any | None) -> None:
    """Fit to all rows; an earlier fit is replaced. `target` is None for unsupervised estimators."""
    features = _features(inputs)
    if target is None:
        model.fit(features)
    else:
        model.fit(features, to_numpy(target))


def _features(inputs: Sequence[Any]) -> npt.NDArray[Any]:
    """One array of shape (rows, features): inputs side by side, each number per row a column of its own.

    A single input that is not a vector of numbers is handed over as it is (texts for a vectorizer).
    """
    arrays = [to_numpy(value) for value in inputs]
    if len(arrays) == 1 and (arrays[0].ndim != 1 or arrays[0].dtype.kind not in "biufc"):
        return arrays[0]
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)
