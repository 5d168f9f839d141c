"""Whether LightGBM's compiled code stays within the arrays of a model: it reads its own text without asking."""

from __future__ import annotations

import re

import numpy as np

_PER_SPLIT = ("split_feature", "threshold", "decision_type", "left_child", "right_child")


def check_model(text: str) -> None:
    """`ValueError` if reading this text, or a sample in one of its trees, could lead outside of an array."""
    head, *rest = re.split(r"(?m)^Tree=(?=\d+$)", text.partition("\nend of trees")[0])
    if not text.startswith("tree\n") or "\nend of trees" not in text:
        raise ValueError("it is no model of LightGBM")
    about = _entries(head)
    sizes = [int(size) for size in about.get("tree_sizes", "").split()]
    if len(sizes) != len(rest) or [int(tree.partition("\n")[0]) for tree in rest] != [*range(len(rest))]:
        raise ValueError("a tree is missing")
    if any(size != len(f"Tree={tree}".encode()) for size, tree in zip(sizes[:-1], rest, strict=False)):
        raise ValueError("a tree is not where the model says that it is")
    num_features = int(about["max_feature_idx"]) + 1
    names = about["feature_names"].split(" ")
    if len(names) != num_features or len(about["feature_infos"].split(" ")) != num_features:
        raise ValueError("it names another number of features")
    per_round = int(about["num_tree_per_iteration"])
    if per_round < 1 or len(rest) % per_round or int(about["num_class"]) < 1:
        raise ValueError("it has another number of trees than of outputs")
    for tree in rest:
        _check_tree(_entries(tree), num_features)


def _entries(text: str) -> dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines() if "=" in line]
    found = {name: value for name, _, value in lines}
    if len(found) != len(lines):
        raise ValueError("an entry is there twice")
    return found


def _check_tree(tree: dict[str, str], num_features: int) -> None:
    def numbers(name: str) -> np.ndarray:
        return np.array(tree.get(name, "").split(), np.float64)

    num_leaves, num_sets = int(tree["num_leaves"]), int(tree["num_cat"])
    num_splits = num_leaves - 1
    if num_leaves < 1 or num_sets < 0 or len(numbers("leaf_value")) != num_leaves:
        raise ValueError("a tree has another number of leaves")
    if not num_splits:
        return
    features, thresholds, kinds, *children = map(numbers, _PER_SPLIT)
    if any(len(each) != num_splits for each in (features, thresholds, kinds, *children)):
        raise ValueError("a tree has arrays of different lengths")
    if ((features < 0) | (features >= num_features)).any():
        raise ValueError("a node of a tree uses a feature that does not exist")
    for behind in children:  # a child always comes after its parent, so every path down ends
        inner = behind >= 0
        if (inner & ((behind <= np.arange(num_splits)) | (behind >= num_splits))).any() or (
            behind < -num_leaves
        ).any():
            raise ValueError("a node of a tree has a child out of place")
    is_by_set = (kinds.astype(np.int64) & 1) != 0
    bounds, words = numbers("cat_boundaries"), numbers("cat_threshold")
    chosen = thresholds[is_by_set]
    if ((chosen < 0) | (chosen >= num_sets)).any():
        raise ValueError("a node of a tree uses categories that do not exist")
    if num_sets and (
        len(bounds) != num_sets + 1
        or bounds[0] != 0
        or (np.diff(bounds) < 0).any()
        or bounds[-1] != len(words)
    ):
        raise ValueError("the categories of a tree do not fit")
    if int(tree.get("is_linear", 0)):
        _check_linear(tree, num_leaves, num_features)


def _check_linear(tree: dict[str, str], num_leaves: int, num_features: int) -> None:
    counts = np.array(tree["num_features"].split(), np.int64)
    features = np.array(tree["leaf_features"].split(), np.int64)
    weights = tree["leaf_coeff"].split()
    if len(counts) != num_leaves or (counts < 0).any() or len(tree["leaf_const"].split()) != num_leaves:
        raise ValueError("a tree has another number of linear leaves")
    if not len(features) == len(weights) == counts.sum():
        raise ValueError("a linear leaf has another number of coefficients")
    if ((features < 0) | (features >= num_features)).any():
        raise ValueError("a linear leaf uses a feature that does not exist")
