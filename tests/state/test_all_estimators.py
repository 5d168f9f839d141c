"""Every estimator that scikit-learn has, fitted on a little data, comes back through a capture with all that it learned."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn import decomposition, linear_model, preprocessing
from sklearn.base import BaseEstimator, clone
from sklearn.utils import all_estimators

from holdfast.state import capture, digest, restore
from tests.support.sklearn_cases import TEXTS, X, Y

REFUSED: dict[str, str] = {}
"""By name why it is refused; an estimator that is not here must come back."""

_ONE = linear_model.LogisticRegression()
_GIVEN: dict[str, Any] = {
    "base_estimator": _ONE,
    "dictionary": X[:3],
    "estimator": _ONE,
    "estimators": [("a", _ONE), ("b", linear_model.RidgeClassifier())],
    "param_distributions": {"C": [1, 2]},
    "param_grid": {"C": [1, 2]},
    "steps": [("s", preprocessing.StandardScaler()), ("m", _ONE)],
    "transformer_list": [("s", preprocessing.StandardScaler()), ("p", decomposition.PCA(1))],
    "transformers": [("s", preprocessing.StandardScaler(), [0, 1])],
}
"""Values of parameters that have no default."""

_SMALL = {"max_iter": 20, "n_estimators": 4, "n_init": 1, "n_bins": 3, "n_quantiles": 5, "random_state": 0}
_OWN: dict[str, dict[str, Any]] = {
    "FrozenEstimator": {"estimator": clone(_ONE).fit(X, Y)},
    "GaussianRandomProjection": {"n_components": 2},
    "PatchExtractor": {"patch_size": (2, 2), "max_patches": 2},
    "ClassifierChain": {"estimator": _ONE},  # optional in scikit-learn 1.7
    "RegressorChain": {"estimator": linear_model.Ridge()},
    "SelfTrainingClassifier": {"estimator": _ONE},
    "SparseRandomProjection": {"n_components": 2},
    "TSNE": {"max_iter": 250, "init": "random"},
    "TunedThresholdClassifierCV": {"cv": 2},
}
_BINARY = (Y > 0).astype(int)
_PAIR = np.c_[_BINARY, 1 - _BINARY]
_DICTS = [{"a": float(row[0]), "b": 1} for row in X]
_TARGETS = (Y, _BINARY, X[:, 0] + 0.5, _PAIR, None)
_ROWS = (X, X[:, 0], TEXTS, _DICTS, _BINARY.tolist(), [[each] for each in _BINARY], X @ X.T)
_OWN_ROWS: dict[str, Any] = {
    "FeatureHasher": _DICTS,
    "HashingVectorizer": TEXTS,
    "PatchExtractor": X.reshape(10, 6, 6),
}
"""Of those that take any rows when they are fitted, and not when they transform."""


def _built(name: str, kind: Any) -> Any:
    parameters = inspect.signature(kind).parameters
    chosen = {each: value for each, value in _SMALL.items() if each in parameters}
    for each, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and each in _GIVEN:
            chosen[each] = _GIVEN[each]
    if "estimators" in chosen and "Regress" in name:
        chosen["estimators"] = [("a", linear_model.Ridge()), ("b", linear_model.Lasso())]
    elif "estimator" in chosen and "Regress" in name:
        chosen["estimator"] = linear_model.Ridge()
    return kind(**chosen | _OWN.get(name, {}))


def _fitted(unfitted: Any) -> tuple[Any, Any]:
    """An estimator, and the rows that it was fitted to: the first data that it takes."""
    if (own := _OWN_ROWS.get(type(unfitted).__name__)) is not None:
        return clone(unfitted).fit(own), own
    for target in _TARGETS:
        for rows in _ROWS:
            made = clone(unfitted)
            try:
                return (made.fit(rows) if target is None else made.fit(rows, target)), rows
            except Exception:  # it is not for such data
                continue
    raise AssertionError(f"{unfitted} takes none of the data")


ALL = {name: kind for name, kind in all_estimators() if name not in REFUSED}


def _same(one: Any, other: Any) -> bool:
    if scipy.sparse.issparse(one):
        one, other = one.toarray(), other.toarray()
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    floats = getattr(one, "dtype", np.dtype(object)).kind == "f"
    return np.array_equal(one, other, equal_nan=floats)


@pytest.mark.parametrize("name", ALL)
def test_each_comes_back_with_all_that_it_learned(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unfitted = _built(name, ALL[name])
        trained, rows = _fitted(unfitted)
        fresh: BaseEstimator = clone(unfitted)
        saved = capture({"m": trained})
        restore(saved, {"m": fresh})
        assert digest(capture({"m": fresh})) == digest(saved)
        assert vars(fresh).keys() == vars(trained).keys()
        for method in ("predict", "predict_proba", "transform", "decision_function", "score_samples"):
            if hasattr(trained, method):
                # Other memory than what it was fitted to: BLAS multiplies a matrix by itself in another way.
                told = [
                    getattr(each, method)(np.copy(rows) if rows is X else rows) for each in (trained, fresh)
                ]
                assert _same(*told), method
