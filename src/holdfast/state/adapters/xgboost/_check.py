"""Whether XGBoost's compiled code stays within the arrays of a model that it has read: it does not ask all of it itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def check_model(model: Mapping[str, Any]) -> None:
    """`ValueError` if a sample could leave a tree, loop in it, or read outside its row.

    Args:
        model: as XGBoost writes it in JSON.
    """
    learner = model["learner"]
    about, trained = learner["learner_model_param"], learner["gradient_booster"]
    num_features = int(about["num_feature"])
    num_outputs = max(int(about["num_class"]), int(about.get("num_target", 1)), 1)
    if trained["name"] == "gblinear":
        if len(trained["model"]["weights"]) != (num_features + 1) * num_outputs:
            raise ValueError("a linear model has another number of weights than of features")
        return
    entire = trained["gbtree"] if trained["name"] == "dart" else trained
    trees, outputs = entire["model"]["trees"], np.asarray(entire["model"]["tree_info"], np.int64)
    if len(outputs) != len(trees) or ((outputs < 0) | (outputs >= num_outputs)).any():
        raise ValueError("a tree is for an output that does not exist")
    if trained["name"] == "dart" and len(trained["weight_drop"]) != len(trees):
        raise ValueError("a tree has no weight")
    for tree in trees:
        _check_tree(tree, num_features)


def _check_tree(tree: Mapping[str, Any], num_features: int) -> None:
    left, right, features, kinds = (
        np.asarray(tree[name], np.int64)
        for name in ("left_children", "right_children", "split_indices", "split_type")
    )
    num_nodes = len(left)
    if not num_nodes or any(len(each) != num_nodes for each in (right, features, kinds)):
        raise ValueError("a tree has arrays of different lengths")
    met = np.zeros(num_nodes, bool)
    level = np.zeros(1, np.int64)
    while len(level):
        if (
            ((level < 0) | (level >= num_nodes)).any()
            or len(np.unique(level)) < len(level)
            or met[level].any()
        ):
            raise ValueError("a node of a tree has a child out of place")
        met[level] = True
        inner = level[left[level] != -1]
        level = np.concatenate([left[inner], right[inner]])
    inner = np.flatnonzero(met & (left != -1))
    if ((features[inner] < 0) | (features[inner] >= num_features)).any():
        raise ValueError("a node of a tree uses a feature that does not exist")
    _check_categories(tree, inner[kinds[inner] != 0])
    size = int(tree["tree_param"]["size_leaf_vector"])
    if size > 1 and "leaf_weights" in tree:
        leaves = right[np.flatnonzero(met & (left == -1))]
        if ((leaves < 0) | ((leaves + 1) * size > len(tree["leaf_weights"]))).any():
            raise ValueError("a leaf of a tree has no weights")


def _check_categories(tree: Mapping[str, Any], splits: np.ndarray) -> None:
    named, starts, sizes = (
        np.asarray(tree[f"categories{name}"], np.int64) for name in ("_nodes", "_segments", "_sizes")
    )
    if not len(named) == len(starts) == len(sizes) or not np.isin(splits, named).all():
        raise ValueError("a node of a tree has no categories")
    if ((starts < 0) | (sizes < 0) | (starts + sizes > len(tree["categories"]))).any():
        raise ValueError("a node of a tree uses categories that do not exist")
