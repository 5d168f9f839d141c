"""A grid search that is killed computes nothing twice, and ends with what one uninterrupted has, which is what GridSearchCV has."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

pytest.importorskip("sklearn")

import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import holdfast
from holdfast import Checkpointing
from holdfast.errors import UsageError
from holdfast.integrations.sklearn import GridSearch

GRID = {
    "decisiontreeclassifier__max_depth": [1, 2, 3],
    "decisiontreeclassifier__criterion": ["gini", "entropy"],
}
X, Y = load_iris(return_X_y=True)


FITS = Mock()  # called in each of this life: a run does not look into mocks


class Tree(DecisionTreeClassifier):
    crash_at = None

    def fit(self, *data, **options):
        FITS()
        if FITS.call_count == Tree.crash_at:
            raise RuntimeError("a cable was pulled")
        return super().fit(*data, **options)


def search(directory, grid=GRID, data=X, crash_at=None):
    FITS.reset_mock()
    Tree.crash_at = crash_at
    pipeline = make_pipeline(StandardScaler(), Tree(max_features=2, random_state=0).set_params())
    names = {name.replace("decisiontreeclassifier", "tree"): values for name, values in grid.items()}
    return GridSearch(pipeline, names, directory, cv=4).fit(data, Y)


@pytest.mark.medium
def test_a_search_that_was_killed_resumes_with_the_fit_that_it_was_at(tmp_path):
    uninterrupted = search(tmp_path / "uninterrupted")
    with pytest.raises(RuntimeError, match="cable"):
        search(tmp_path / "killed", crash_at=14)
    again = search(tmp_path / "killed")
    assert FITS.call_count == 24 - 13
    assert again.last_resume.verdict == "exact"
    assert np.array_equal(again.scores, uninterrupted.scores)
    assert again.best_params == uninterrupted.best_params
    search(tmp_path / "killed")
    assert FITS.call_count == 0
    assert len(holdfast.scan(tmp_path / "killed")) <= 3


def test_its_scores_are_those_of_scikit_learn(tmp_path):
    found = search(tmp_path)
    pipeline = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_features=2, random_state=0))
    theirs = GridSearchCV(pipeline, GRID, cv=4).fit(X, Y)
    assert np.array_equal(found.mean_scores, theirs.cv_results_["mean_test_score"])
    assert [*found.best_params.values()] == [*theirs.best_params_.values()]


def test_another_search_in_its_directory_is_refused(tmp_path):
    search(tmp_path)
    with pytest.raises(UsageError, match="other candidates, folds or data"):
        search(tmp_path, data=X + 1)
    with pytest.raises(UsageError, match="other candidates, folds or data"):
        search(tmp_path, grid={"decisiontreeclassifier__max_depth": [1, 2, 4, 5, 6, 7]})


def test_what_means_nothing_in_a_search_is_refused(tmp_path):
    for options in (
        {"save_on": "epoch_end"},
        {"on_divergence": "stop"},
        {"snapshot": "lazy"},
        {"exclude": "scores"},
        {"thin_after": 1},
    ):
        policy = Checkpointing(**{"mode": "disk", "save_on": "batch_end", **options})
        with pytest.raises(UsageError, match="a GridSearch"):
            GridSearch(Tree(), {"max_depth": [1]}, tmp_path, checkpointing=policy)


def test_a_search_that_is_not_done_is_not_non_finite(tmp_path):
    with pytest.raises(RuntimeError, match="cable"):
        search(tmp_path, crash_at=5)
    assert not any("health" in listed.record.details for listed in holdfast.scan(tmp_path))


def test_a_policy_that_does_not_say_when_saves_after_fits(tmp_path):
    search = GridSearch(
        Tree(),
        {"max_depth": [1, 2]},
        tmp_path,
        checkpointing=Checkpointing(max_to_keep=1),
        cv=3,
        scoring="accuracy",  # scikit-learn 1.7 cannot find that of a subclass of a tree
    )
    search.fit(X, Y)
    assert [each.record.moment.batch for each in holdfast.scan(tmp_path)] == [5]
