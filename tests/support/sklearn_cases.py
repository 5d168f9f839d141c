"""Fitted estimators of every family, and the way through a bundle that they all go."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
import pandas
import scipy.sparse
import scipy.stats
from scipy.spatial.distance import cosine
from sklearn import (
    calibration,
    cluster,
    compose,
    covariance,
    decomposition,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    metrics,
    mixture,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union

from holdfast import bundle
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.state import capture
from holdfast.storage import MemoryDisk

DRAW = np.random.default_rng(0)
Y = DRAW.integers(0, 3, 90)
X = np.abs(DRAW.normal(size=(90, 4)) + Y[:, None])
REAL = X @ [1.0, -2.0, 0.5, 0.0] + DRAW.normal(size=90)
KINDS = np.array([["rock", None], ["kelp", True], ["rock", False]] * 30, object)
TEXTS = ["kelp and rock", "rock holds", "the kelp holds"] * 30


def known(kind: type, **options: Any) -> dict[str, Any]:
    """Those options that this version of scikit-learn has."""
    return {name: value for name, value in options.items() if name in inspect.signature(kind).parameters}


OF_CV = known(linear_model.LogisticRegressionCV, use_legacy_attributes=False)
OF_CV |= {"l1_ratios": (0,)} if OF_CV else {}  # older versions warn of that, newer ones if it is missing
OF_BINS = known(preprocessing.KBinsDiscretizer, quantile_method="averaged_inverted_cdf")


def through_a_bundle(value: Any) -> bundle.Bundle:
    """`value` as it is read back from disk."""
    moment, nothing = Moment(run="r", hook="phase_end"), FileEntry("", 0, "")
    draft = CheckpointRecord(
        id="0" * 32,
        name="fitted",
        kind="train",
        moment=moment,
        seq=1,
        created="2024-01-01T00:00:00.000000+00:00",
        tree=nothing,
        packs=(),
    )
    disk = MemoryDisk()
    bundle.save(disk, "runs", draft, capture(value), bundle.Sharing())
    return bundle.Bundle(disk, bundle.bundle_path("runs", "fitted"))


class Centred(ClassifierMixin, BaseEstimator):
    """A user's own estimator: the class of the nearest mean."""

    def __init__(self, power: float = 2.0) -> None:
        self.power = power

    def fit(self, X: Any, y: Any) -> Centred:
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == kind].mean(axis=0) for kind in self.classes_])
        return self

    def predict(self, X: Any) -> Any:
        far = np.abs(X[:, None] - self.means_).__pow__(self.power).sum(axis=-1)
        return self.classes_[far.argmin(axis=1)]


class Times:
    """An object that stands for a function."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: Any) -> Any:
        return self.factor * x

    def method(self, x: Any) -> Any:
        return self.factor + x


def stretched(a: Any, b: Any, by: float = 1.0) -> float:
    """A metric of the script's."""
    return float(by * np.abs(a - b).sum())


def first_and_half(x: Any) -> Any:
    return x[:, :1] / 2


def agreement(true: Any, found: Any) -> float:
    """A score of the script's."""
    return float((true == found).mean())


def linear(a: Any, b: Any) -> Any:
    """A kernel of the script's."""
    return a @ b.T


def shares(estimator: Any, x: Any, y: Any) -> float:
    """A scorer of the script's."""
    return float((estimator.predict(x) == y).mean())


TABLE = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": KINDS[:, 0]})
OF_CODE: dict[str, tuple[BaseEstimator, Any, Any]] = {
    # Estimators whose parameters hold functions and what stands for them
    "a function of the script's": (preprocessing.FunctionTransformer(first_and_half), X, None),
    "a lambda": (preprocessing.FunctionTransformer(lambda x: x + 1), X, None),
    "a partial function": (preprocessing.FunctionTransformer(partial(np.clip, a_min=0, a_max=1)), X, None),
    "a partial function of the script's": (
        preprocessing.FunctionTransformer(partial(stretched, b=0)),
        X,
        None,
    ),
    "an object that can be called": (preprocessing.FunctionTransformer(Times(3)), X, None),
    "a method": (preprocessing.FunctionTransformer(Times(2).method), X, None),
    "a kernel": (svm.SVC(kernel=linear), X, Y),
    "a kernel of a ridge": (kernel_ridge.KernelRidge(3.0, kernel=cosine), X[:20], REAL[:20]),
    "a metric": (neighbors.KNeighborsClassifier(metric=stretched, metric_params={"by": 2.0}), X, Y),
    "a metric in a tree": (neighbors.NearestNeighbors(metric=stretched, algorithm="ball_tree"), X, None),
    **{
        f"the metric {name}": (
            neighbors.NearestNeighbors(metric=name, algorithm="ball_tree", metric_params=more),
            X,
            None,
        )
        for name, more in {
            "canberra": None,
            "braycurtis": None,
            "seuclidean": {"V": np.array([1.0, 2, 3, 4])},
            "mahalanobis": {"V": np.eye(4) * [1, 2, 3, 4]},
            "hamming": None,
        }.items()
    },
    "weights of neighbours": (neighbors.KNeighborsRegressor(weights=lambda far: 1 / (1 + far)), X, REAL),
    "a search by a function's score": (
        model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2]}, cv=2, scoring=metrics.make_scorer(agreement)),
        X,
        Y,
    ),
    "a search by scorers": (
        model_selection.GridSearchCV(
            svm.SVC(), {"C": [1, 2]}, cv=2, scoring={"a": shares, "b": "accuracy"}, refit="a"
        ),
        X,
        Y,
    ),
    "a search among functions": (
        model_selection.GridSearchCV(
            make_pipeline(preprocessing.FunctionTransformer(), svm.SVC()),
            {"functiontransformer__func": [first_and_half, np.log1p]},
            cv=2,
        ),
        X,
        Y,
    ),
    "a search of a pipeline with a partial function": (
        model_selection.GridSearchCV(
            make_pipeline(preprocessing.FunctionTransformer(partial(np.multiply, 2.0)), svm.SVC()),
            {"svc__C": [1]},
            cv=2,
        ),
        X,
        Y,
    ),
    "a random search": (
        model_selection.RandomizedSearchCV(
            svm.SVC(),
            {
                "C": scipy.stats.loguniform(1e-2, 1e2),
                "gamma": scipy.stats.uniform(0.1, scale=2),
                "kernel": ["rbf"],
            },
            n_iter=3,
            cv=2,
            random_state=0,
        ),
        X,
        Y,
    ),
    "a random search of a search": (
        model_selection.GridSearchCV(
            model_selection.RandomizedSearchCV(
                svm.SVC(), {"C": scipy.stats.expon()}, n_iter=2, cv=2, random_state=0
            ),
            {"n_iter": [1, 2]},
            cv=2,
        ),
        X,
        Y,
    ),
    "columns by a selector": (
        compose.make_column_transformer(
            (preprocessing.StandardScaler(), compose.make_column_selector(dtype_include=np.number)),
            (preprocessing.OneHotEncoder(), compose.make_column_selector("^k", dtype_exclude=[float])),
        ),
        TABLE,
        None,
    ),
    "columns by a function": (
        compose.make_column_transformer((preprocessing.StandardScaler(), lambda table: ["a", "b"])),
        TABLE,
        None,
    ),
    "words by a function": (
        feature_extraction.text.CountVectorizer(tokenizer=str.split, token_pattern=None),
        TEXTS,
        None,
    ),
    "words by a function of the script's": (
        feature_extraction.text.TfidfVectorizer(analyzer=lambda text: text.split()),
        TEXTS,
        None,
    ),
    "a score of features": (
        feature_selection.SelectKBest(lambda x, y: np.arange(x.shape[1]), k=2),
        X,
        Y,
    ),
    "Birch": (cluster.Birch(n_clusters=None, branching_factor=3, threshold=0.2), X, None),
    "Birch of single numbers": (cluster.Birch(n_clusters=2, threshold=0.1), X.astype(np.float32), None),
    "SplineTransformer": (preprocessing.SplineTransformer(), X, None),
    "periodic splines": (preprocessing.SplineTransformer(extrapolation="periodic", n_knots=6), X, None),
    "a threshold": (
        model_selection.TunedThresholdClassifierCV(linear_model.LogisticRegression(), cv=2),
        X,
        Y > 0,
    ),
}
ESTIMATORS: dict[str, tuple[BaseEstimator, Any, Any]] = {
    # name: (estimator, what it is fitted to, its target)
    **{
        type(estimator).__name__: (estimator, X, Y)
        for estimator in (
            calibration.CalibratedClassifierCV(cv=2),
            cluster.BisectingKMeans(3, random_state=0),
            cluster.KMeans(3, n_init=1, random_state=0),
            cluster.MiniBatchKMeans(3, n_init=1, random_state=np.random.RandomState(3)),
            covariance.MinCovDet(random_state=0),
            decomposition.IncrementalPCA(2),
            decomposition.PCA(2),
            decomposition.TruncatedSVD(2, random_state=0),
            dummy.DummyClassifier(strategy="stratified", random_state=0),
            ensemble.AdaBoostClassifier(n_estimators=3, random_state=0),
            ensemble.BaggingClassifier(Centred(), n_estimators=3, random_state=0),
            ensemble.ExtraTreesClassifier(4, random_state=0),
            ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0),
            ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=0, min_samples_leaf=5),
            ensemble.IsolationForest(n_estimators=4, random_state=0),
            ensemble.RandomForestClassifier(30, random_state=0, oob_score=metrics.accuracy_score),
            ensemble.StackingClassifier([("nb", naive_bayes.GaussianNB()), ("lr", svm.LinearSVC())], cv=2),
            ensemble.VotingClassifier([("nb", naive_bayes.GaussianNB()), ("c", Centred())]),
            feature_selection.SelectKBest(k=2),
            gaussian_process.GaussianProcessClassifier(
                1.0 * gaussian_process.kernels.RBF() + gaussian_process.kernels.WhiteKernel(),
                optimizer=None,
            ),
            impute.KNNImputer(),
            impute.SimpleImputer(strategy="median"),
            kernel_approximation.Nystroem(n_components=5, random_state=0),
            linear_model.LogisticRegression(),
            linear_model.LogisticRegressionCV(cv=2, Cs=2, scoring="accuracy", **OF_CV),
            linear_model.Perceptron(random_state=0),
            linear_model.RidgeClassifier(),
            linear_model.SGDClassifier(random_state=0),
            mixture.GaussianMixture(2, random_state=0),
            multiclass.OneVsOneClassifier(svm.LinearSVC(random_state=0)),
            naive_bayes.BernoulliNB(),
            naive_bayes.ComplementNB(),
            naive_bayes.GaussianNB(),
            naive_bayes.MultinomialNB(),
            neighbors.KNeighborsClassifier(),
            neighbors.KernelDensity(),
            neighbors.LocalOutlierFactor(novelty=True, algorithm="ball_tree"),
            neighbors.NearestNeighbors(p=1.5),
            neural_network.MLPClassifier(5, max_iter=4, tol=0, random_state=0, early_stopping=True),
            preprocessing.FunctionTransformer(np.log1p),
            preprocessing.KBinsDiscretizer(3, **OF_BINS),
            preprocessing.MinMaxScaler(),
            preprocessing.PolynomialFeatures(2),
            preprocessing.PowerTransformer(),
            preprocessing.QuantileTransformer(n_quantiles=5),
            preprocessing.RobustScaler(),
            preprocessing.StandardScaler(),
            svm.LinearSVC(random_state=0),
            svm.OneClassSVM(),
            svm.SVC(),
            tree.DecisionTreeClassifier(random_state=0),
            Centred(),
        )
    },
    **{
        type(estimator).__name__: (estimator, X, REAL)
        for estimator in (
            ensemble.GradientBoostingRegressor(n_estimators=3, loss="huber", random_state=0),
            ensemble.HistGradientBoostingRegressor(
                max_iter=3, loss="quantile", quantile=0.3, early_stopping=True
            ),
            ensemble.RandomForestRegressor(4, random_state=0),
            gaussian_process.GaussianProcessRegressor(random_state=0),
            linear_model.ElasticNet(),
            linear_model.Lars(),
            linear_model.LinearRegression(),
            linear_model.Ridge(),
            linear_model.SGDRegressor(random_state=0),
            linear_model.TweedieRegressor(power=0),
            neighbors.KNeighborsRegressor(metric="manhattan", algorithm="kd_tree"),
            neural_network.MLPRegressor(
                hidden_layer_sizes=5, solver="sgd", max_iter=4, tol=0, random_state=0
            ),
            svm.SVR(),
            tree.ExtraTreeRegressor(random_state=0),
            compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.sinh, inverse_func=np.arcsinh),
        )
    },
    "a pipeline": (make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2), svm.SVC()), X, Y),
    "a union": (
        make_pipeline(make_union(preprocessing.StandardScaler(), decomposition.PCA(1)), svm.SVC()),
        X,
        Y,
    ),
    "a bare union": (FeatureUnion([("s", preprocessing.StandardScaler()), ("p", "passthrough")]), X, None),
    "columns": (
        compose.make_column_transformer(
            (preprocessing.StandardScaler(), slice(0, 2)), ("drop", [2]), remainder="passthrough"
        ),
        X,
        None,
    ),
    "a grid search": (
        model_selection.GridSearchCV(
            make_pipeline(preprocessing.StandardScaler(), Centred()),
            {"centred__power": [1.0, 2.0]},
            cv=model_selection.StratifiedKFold(2, shuffle=True, random_state=0),
            scoring="f1_macro",
        ),
        X,
        Y,
    ),
    "a grid search by its own score": (
        model_selection.GridSearchCV(svm.SVC(), [{"C": [1, 2]}, {"kernel": ["linear"]}], cv=2),
        X,
        Y,
    ),
    "isotonic regression": (isotonic.IsotonicRegression(out_of_bounds="clip"), X[:, 0], REAL),
    "one hot": (preprocessing.OneHotEncoder(handle_unknown="ignore"), KINDS[:, :1], None),
    "ordinal": (preprocessing.OrdinalEncoder(dtype=np.float32), KINDS[:, :1], None),
    "categories of booleans": (preprocessing.OneHotEncoder(), KINDS[:, 1:] == True, None),  # noqa: E712
    "categories with None": (
        preprocessing.OneHotEncoder(),
        np.array([["a"], [None], ["b"]] * 30, object),
        None,
    ),
    "categories with NaN": (
        preprocessing.OneHotEncoder(),
        np.array([["a"], [float("nan")], ["b"]] * 30, object),
        None,
    ),
    "a forest for texts as labels": (
        ensemble.RandomForestClassifier(3, random_state=0, class_weight="balanced"),
        X,
        KINDS[:, 0],
    ),
    "histograms of categories": (
        ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0], min_samples_leaf=5),
        np.c_[Y + DRAW.integers(0, 2, 90), X],
        Y,
    ),
    "word counts": (feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2)), TEXTS, None),
    "neighbours of sparse rows": (neighbors.KNeighborsClassifier(), scipy.sparse.csr_matrix(X), Y),
    "a sparse model": (linear_model.SGDClassifier(penalty="l1", random_state=0), X, Y),
    "a label encoder": (preprocessing.LabelEncoder(), KINDS[:, 0], None),
    "a label binarizer": (preprocessing.LabelBinarizer(), Y, None),
    "not fitted": (svm.SVC(C=2), None, None),
    **OF_CODE,
}


def fitted(case: str) -> BaseEstimator:
    estimator, rows, target = ESTIMATORS[case]
    made = clone(estimator)
    if rows is not None:
        made.fit(rows) if target is None else made.fit(rows, target)
    return made.sparsify() if case == "a sparse model" else made


def answers(estimator: Any, rows: Any) -> dict[str, Any]:
    """All that it says about `rows`, dense."""
    found = {}
    for name in ("transform", "predict", "predict_proba", "decision_function", "score_samples", "kneighbors"):
        if rows is not None and hasattr(estimator, name):
            told = getattr(estimator, name)(rows.copy())
            found[name] = told.toarray() if scipy.sparse.issparse(told) else np.array(told)
    return found
