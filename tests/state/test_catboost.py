"""Estimators of CatBoost come back with their models, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.errors import StateMismatchError
from holdfast.state import capture, digest, restore
from tests.support.sklearn_cases import REAL, X, Y, through_a_bundle

catboost: Any = pytest.importorskip("catboost")

SMALL: dict[str, Any] = {"iterations": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


@pytest.mark.parametrize("name", ["CatBoostClassifier", "CatBoostRegressor", "CatBoost"])
def test_an_estimator_comes_back_through_a_bundle(name, tmp_path):
    kind = getattr(catboost, name)
    live = kind(SMALL) if name == "CatBoost" else kind(**SMALL)
    trained = (kind(SMALL) if name == "CatBoost" else kind(**SMALL)).fit(X, Y if "Class" in name else REAL)
    saved = through_a_bundle({"m": trained})
    restore(saved, {"m": live})
    assert digest(capture({"m": live})) == digest(saved)
    np.testing.assert_array_equal(live.predict(X), trained.predict(X))
    holdfast.save(tmp_path / "m", {"m": trained})
    np.testing.assert_array_equal(holdfast.load(tmp_path / "m")["m"].predict(X), trained.predict(X))


def test_two_trainings_of_the_same_have_one_digest():
    both = [capture({"m": catboost.CatBoostClassifier(**SMALL).fit(X, Y)}) for _ in range(2)]
    assert digest(both[0]) == digest(both[1])


def test_other_parameters_and_a_fitted_one_in_the_place_of_an_unfitted_are_told():
    saved = capture({"m": catboost.CatBoostClassifier(**SMALL)})
    restore(saved, {"m": catboost.CatBoostClassifier(**SMALL | {"thread_count": 2})})
    with pytest.raises(StateMismatchError, match="m: was saved with other parameters: depth"):
        restore(saved, {"m": catboost.CatBoostClassifier(**SMALL, depth=3)})
    with pytest.raises(StateMismatchError, match="m: was not fitted yet"):
        restore(saved, {"m": catboost.CatBoostClassifier(**SMALL).fit(X, Y)})
