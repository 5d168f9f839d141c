"""scikit-learn estimators in a graph, beside torch modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from holdfast.errors import GraphError
from holdfast.experiment import MergeNode, ModelGraph, ModelNode

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(5, 2, size=(60, 3))
Y = (X[:, 0] > 5).astype(np.int64)
DATA = {"x": X, "y": Y}


def test_an_estimator_is_fitted_on_what_the_nodes_before_it_give():
    graph = ModelGraph(
        [
            ModelNode("standard", StandardScaler(), "x"),
            ModelNode("body", nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9)), "standard"),
            ModelNode("forest", LogisticRegression(), "body", method="predict_proba"),
        ]
    )
    graph.fit_node("standard", DATA)
    graph.fit_node("forest", DATA, "y")

    standard = StandardScaler().fit_transform(X)
    body = graph["body"].model
    with torch.no_grad():
        hidden = body[0](torch.tensor(standard, dtype=torch.float32)).numpy()
    expected = LogisticRegression().fit(hidden, Y).predict_proba(hidden[:7])
    with graph.evaluating():
        outputs = graph.forward({"x": X[:7]})
    assert np.array_equal(outputs["forest"], expected), "fitted without dropout"
    assert body.training, "fitting does not change the mode"


def test_estimators_output_trains_the_modules_after_it():
    graph = ModelGraph(
        [ModelNode("standard", StandardScaler(), "x"), ModelNode("head", nn.Linear(3, 2), "standard")],
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    graph.fit_node("standard", DATA)
    graph.forward(DATA)["head"].sum().backward()
    assert graph["head"].model.weight.grad is not None
    assert len(graph.optimizers[0].param_groups[0]["params"]) == 2


def test_by_default_an_estimator_predicts_and_a_transformer_transforms():
    graph = ModelGraph(
        [
            ModelNode("standard", StandardScaler(), "x"),
            ModelNode("both", KMeans(2, n_init=1, random_state=0), "x"),
            ModelNode("pipeline", make_pipeline(StandardScaler(), LogisticRegression()), "x"),
        ]
    )
    for label in graph.labels:
        graph.fit_node(label, DATA, "y")
    outputs = graph.forward(DATA)
    assert {label: output.shape for label, output in outputs.items()} == {
        "standard": (60, 3),
        "both": (60,),
        "pipeline": (60,),
    }


def test_inputs_stand_side_by_side_and_vectors_are_columns():
    graph = ModelGraph(
        [ModelNode("standard", StandardScaler(), ["x", "y", "t"]), ModelNode("one", StandardScaler(), "y")]
    )
    data = DATA | {"t": torch.ones(60, 1, 2, dtype=torch.bfloat16, requires_grad=True)}
    for label in graph.labels:
        graph.fit_node(label, data)
    assert graph["standard"].model.n_features_in_ == 6
    assert graph.forward(data)["one"].shape == (60, 1)


def test_texts_reach_a_vectorizer_and_its_sparse_counts_reach_a_module():
    texts = np.array(["kelp and rock", "rock and rock"])
    graph = ModelGraph(
        [
            ModelNode("counts", CountVectorizer(), "text"),
            ModelNode("kinds", OneHotEncoder(), "kind"),
            MergeNode("all", ["counts", "kinds"]),
        ]
    )
    data = {"text": texts, "kind": np.array([["a"], ["b"]])}
    graph.fit_node("counts", data)
    graph.fit_node("kinds", data)
    assert graph.forward(data, ["all"])["all"].tolist() == [[1, 1, 1, 1, 0], [1, 0, 2, 0, 1]]


@pytest.mark.parametrize(
    ("label", "target", "message"),
    [
        ("nobody", None, "no node 'nobody' in the graph"),
        ("body", None, "node 'body': torch modules are trained by gradients"),
        ("merged", None, "node 'merged' merges its inputs"),
        ("frozen_one", None, "node 'frozen_one' is frozen"),
        ("standard", "z", "node 'standard': there is no column 'z' to fit it to"),
        ("late", None, "node 'standard': StandardScaler is not fitted yet: run a FitPhase"),
    ],
)
def test_a_node_that_cannot_be_fitted_is_named(label, target, message):
    graph = ModelGraph(
        [
            ModelNode("standard", StandardScaler(), "x"),
            ModelNode("late", StandardScaler(), "standard"),
            ModelNode("frozen_one", StandardScaler(), "x", frozen=True),
            ModelNode("body", nn.Linear(3, 3), "x"),
            MergeNode("merged", ["x", "x"]),
        ]
    )
    with pytest.raises(GraphError, match=message):
        graph.fit_node(label, DATA, target)


def test_an_estimator_that_is_not_fitted_or_lacks_the_method_is_named():
    graph = ModelGraph(
        [
            ModelNode("standard", StandardScaler(), "x"),
            ModelNode("odd", StandardScaler(), "x", method="predict_proba"),
        ]
    )
    with pytest.raises(GraphError, match="node 'standard': StandardScaler is not fitted yet"):
        graph.forward(DATA, ["standard"])
    with pytest.raises(GraphError, match="node 'odd': StandardScaler has no method 'predict_proba'"):
        graph.forward(DATA, ["odd"])


def test_a_class_in_place_of_an_estimator_is_refused():
    with pytest.raises(GraphError, match="node 'a'"):
        ModelNode("a", StandardScaler, "x")


def test_other_libraries_estimators_are_taken_by_their_interface():
    class Shift:
        def get_params(self, deep=True):
            return {}

        def fit(self, X, y=None):
            self.by = X.mean()
            return self

        def transform(self, X):
            return X - self.by

    assert not isinstance(Shift(), BaseEstimator)
    graph = ModelGraph([ModelNode("shift", Shift(), "x")])
    graph.fit_node("shift", DATA)
    assert graph.forward(DATA)["shift"].mean() == pytest.approx(0)
