"""Estimators come back through a bundle to the bit, and go on learning as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import (
    cluster,
    decomposition,
    ensemble,
    linear_model,
    naive_bayes,
    neural_network,
    preprocessing,
    svm,
)
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import make_pipeline

from holdfast.state import capture, digest, restore
from tests.support.sklearn_cases import ESTIMATORS, Centred, X, Y, answers, fitted, through_a_bundle


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", ESTIMATORS)
def test_an_estimator_comes_back_through_a_bundle_and_answers_to_the_bit(case):
    trained, fresh = fitted(case), clone(ESTIMATORS[case][0])
    saved = through_a_bundle({"model": trained})
    assert restore(saved, {"model": fresh}).value["model"] is fresh
    assert digest(capture({"model": fresh})) == digest(saved)
    expected, found = answers(trained, ESTIMATORS[case][1]), answers(fresh, ESTIMATORS[case][1])
    assert expected.keys() == found.keys()
    for name, told in expected.items():
        np.testing.assert_array_equal(found[name], told, strict=True)


def partial_fit(estimator: Any, times: range) -> Any:
    for time in times:
        rows = np.random.default_rng(time).permutation(90)[:60]
        known = {"classes": [0, 1, 2]} if isinstance(estimator, ClassifierMixin) else {}
        estimator.partial_fit(X[rows], Y[rows], **known)
    return estimator


def learn_clusters(estimator: Any, times: range) -> Any:
    for time in times:
        estimator.partial_fit(np.random.default_rng(time).normal(size=(20, 4)))
    return estimator


def learn_single(estimator: Any, times: range) -> Any:
    for time in times:
        estimator.partial_fit(np.random.default_rng(time).normal(size=(20, 4)).astype(np.float32))
    return estimator


def more_trees(estimator: Any, times: range) -> Any:
    for time in times:
        estimator.set_params(n_estimators=2 * time + 2).fit(X, Y)
    return estimator


def more_rounds(estimator: Any, times: range) -> Any:
    for time in times:
        estimator.set_params(max_iter=2 * time + 2).fit(X, Y)
    return estimator


def shared_random() -> dict[str, Any]:
    return {"random_state": np.random.RandomState(5)}


CONTINUED: dict[str, tuple[Callable[[], Any], Callable[[Any, range], Any]]] = {
    "SGDClassifier": (lambda: linear_model.SGDClassifier(random_state=0), partial_fit),
    "SGDClassifier, averaged": (lambda: linear_model.SGDClassifier(average=20, random_state=0), partial_fit),
    "SGDClassifier, shared random": (lambda: linear_model.SGDClassifier(**shared_random()), partial_fit),
    "MLPClassifier, adam": (lambda: neural_network.MLPClassifier(5, random_state=0), partial_fit),
    "MLPClassifier, sgd": (
        lambda: neural_network.MLPClassifier(5, solver="sgd", **shared_random()),
        partial_fit,
    ),
    "MiniBatchKMeans": (lambda: cluster.MiniBatchKMeans(3, n_init=1, random_state=0), partial_fit),
    "Birch": (lambda: cluster.Birch(branching_factor=3, threshold=0.05), learn_clusters),
    "Birch, of single numbers": (
        lambda: cluster.Birch(n_clusters=None, branching_factor=4, threshold=0.1),
        learn_single,
    ),
    "IncrementalPCA": (lambda: decomposition.IncrementalPCA(2), partial_fit),
    "LatentDirichletAllocation": (
        lambda: decomposition.LatentDirichletAllocation(2, random_state=0),
        partial_fit,
    ),
    "GaussianNB": (lambda: naive_bayes.GaussianNB(), partial_fit),
    "StandardScaler": (lambda: preprocessing.StandardScaler(), partial_fit),
    "GradientBoosting": (
        lambda: ensemble.GradientBoostingClassifier(warm_start=True, subsample=0.5, random_state=0),
        more_trees,
    ),
    "GradientBoosting, shared random": (
        lambda: ensemble.GradientBoostingClassifier(warm_start=True, subsample=0.5, **shared_random()),
        more_trees,
    ),
    "RandomForest": (lambda: ensemble.RandomForestClassifier(warm_start=True, random_state=0), more_trees),
    "RandomForest, shared random": (
        lambda: ensemble.RandomForestClassifier(warm_start=True, **shared_random()),
        more_trees,
    ),
    "HistGradientBoosting": (
        lambda: ensemble.HistGradientBoostingClassifier(
            warm_start=True, max_features=0.5, min_samples_leaf=5, random_state=0
        ),
        more_rounds,
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", CONTINUED)
def test_a_restored_estimator_continues_learning_like_one_that_was_never_interrupted(case):
    build, learn = CONTINUED[case]
    complete = learn(build(), range(4))
    interrupted = learn(build(), range(2))
    fresh = build()
    fresh.set_params(
        **{
            name: value
            for name, value in interrupted.get_params().items()
            if name in ("n_estimators", "max_iter")
        }
    )
    restore(through_a_bundle({"model": interrupted}), {"model": fresh})
    learn(fresh, range(2, 4))
    assert digest(capture(fresh)) == digest(capture(complete))
    for name, told in answers(complete, X).items():
        np.testing.assert_array_equal(answers(fresh, X)[name], told, strict=True)


def test_without_a_seed_an_estimator_draws_from_numpys_own_generator_before_and_after():
    live = neural_network.MLPClassifier(3, max_iter=2)
    restore(capture({"m": partial_fit(neural_network.MLPClassifier(3, max_iter=2), range(1))}), {"m": live})
    assert live._random_state is np.random.mtrand._rand


def test_what_one_object_was_is_one_object_again():
    fresh = ensemble.VotingClassifier([("nb", naive_bayes.GaussianNB()), ("c", Centred())])
    restore(capture({"m": fitted("VotingClassifier")}), {"m": fresh})
    assert fresh.named_estimators_["nb"] is fresh.estimators_[0]
    assert fresh.estimators_[0] is not fresh.estimators[0][1]
    pair = np.random.RandomState(1)
    forest = neural_network.MLPClassifier(3, random_state=pair)
    restore(capture({"m": partial_fit(clone(forest), range(1))}), {"m": forest})
    assert forest._random_state is forest.random_state is pair


class Keeps(BaseEstimator):
    """What it learns is what it was given."""

    def __init__(self, given: Any = None) -> None:
        self.given = given

    def fit(self, rows: Any) -> Keeps:
        self.learned_ = self.given
        return self


@pytest.mark.parametrize(
    "given",
    [
        np.array(["a", None], object),
        X[:, 1:3],
        np.random.RandomState(3),
        svm.SVC(),
        preprocessing.Normalizer(),
    ],
    ids=["objects", "a slice", "a random generator", "an estimator", "another"],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_parameter_that_was_learned_too_is_the_live_one(given, strict):
    live = Keeps(given if strict else None)
    restore(capture({"m": Keeps(given).fit(X)}), {"m": live}, strict=strict)
    assert live.learned_ is live.given


def test_the_steps_of_a_live_pipeline_stay_the_same_objects():
    scaler, model = preprocessing.StandardScaler(), linear_model.SGDClassifier(random_state=0)
    live = make_pipeline(scaler, model)
    restore(capture({"m": clone(live).fit(X, Y)}), {"m": live})
    assert [step for _, step in live.steps] == [scaler, model]
    assert scaler.n_samples_seen_ == 90
    assert (live.predict(X) == model.predict(scaler.transform(X))).all()


def test_how_much_is_computed_at_once_is_the_live_programs_own_matter():
    saved = ensemble.RandomForestClassifier(2, n_jobs=1, random_state=0).fit(X, Y)
    live = clone(saved).set_params(n_jobs=2)
    restore(capture({"m": saved}), {"m": live})
    assert live.n_jobs == 2
    assert (live.predict(X) == saved.predict(X)).all()


def test_with_strict_off_a_live_parameter_stays_and_what_was_learned_comes_back():
    live = ensemble.GradientBoostingClassifier(n_estimators=2, warm_start=True, max_depth=2, random_state=0)
    saved = ensemble.GradientBoostingClassifier(n_estimators=2, warm_start=True, random_state=0).fit(X, Y)
    skipped = restore(capture({"m": saved}), {"m": live}, strict=False).skipped
    assert [problem.partition(":")[0] for problem in skipped] == ["m/max_depth"]
    assert live.max_depth == 2
    assert (live.predict_proba(X) == saved.predict_proba(X)).all()


def test_how_far_a_warm_start_had_come_is_part_of_what_was_saved():
    live = ensemble.GradientBoostingClassifier(n_estimators=1, warm_start=True, random_state=0)
    saved = ensemble.GradientBoostingClassifier(n_estimators=2, warm_start=True, random_state=0).fit(X, Y)
    restore(capture({"m": saved}), {"m": live})
    assert live.n_estimators == 2
    complete = ensemble.GradientBoostingClassifier(n_estimators=4, random_state=0).fit(X, Y)
    assert (live.set_params(n_estimators=4).fit(X, Y).predict_proba(X) == complete.predict_proba(X)).all()


def test_an_estimator_that_was_fitted_already_becomes_exactly_what_was_saved():
    live = linear_model.SGDClassifier(random_state=0).fit(X, Y)
    live.left_over_ = 1
    restore(capture({"m": linear_model.SGDClassifier(random_state=0)}), {"m": live})
    assert not hasattr(live, "coef_")
    assert not hasattr(live, "left_over_")
