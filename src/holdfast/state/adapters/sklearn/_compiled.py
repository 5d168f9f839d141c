"""Objects of compiled code, by their arrays and arguments; values that would make that code misbehave are refused."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree

from .... import paths
from ....records import Node, Object
from ..._walk import Walk
from ._tables import COMPILED

SPARSE: dict[str, type] = {
    f"scipy.sparse.{name}": getattr(scipy.sparse, name)
    for name in ("csr_matrix", "csc_matrix", "csr_array", "csc_array")
}
_NEIGHBORS: dict[str, type] = {"sklearn.neighbors.KDTree": KDTree, "sklearn.neighbors.BallTree": BallTree}
_MAX_SPREAD = 64  # times the bytes of the items: more widely spread items are restored without the gaps
_METRICS = {
    f"{kind}Distance64": name
    for kind, name in {
        "Euclidean": "euclidean",
        "Manhattan": "manhattan",
        "Chebyshev": "chebyshev",
        "Minkowski": "minkowski",
        "SEuclidean": "seuclidean",
        "Mahalanobis": "mahalanobis",
        "Hamming": "hamming",
        "Canberra": "canberra",
        "BrayCurtis": "braycurtis",
        "Jaccard": "jaccard",
        "Dice": "dice",
        "RogersTanimoto": "rogerstanimoto",
        "RussellRao": "russellrao",
        "SokalMichener": "sokalmichener",
        "SokalSneath": "sokalsneath",
        "Haversine": "haversine",
    }.items()
}


# Decision trees


def take_tree(value: Any, walk: Walk, path: str) -> Object:
    _, (n_features, n_classes, n_outputs), state = value.__reduce__()
    parts = {"n_features": n_features, "n_classes": n_classes, "n_outputs": n_outputs, **state}
    return Object("sklearn.tree", "sklearn.tree._tree.Tree", _nodes(parts, walk, path))


def make_tree(state: Any, taken: Object) -> Any:
    """A `Tree`; `ValueError` if a sample could leave it, loop in it, or read outside its row."""
    nodes, n_features = state["nodes"], int(state["n_features"])
    inner = nodes["left_child"] != -1
    _check_children(nodes["left_child"], nodes["right_child"], inner)
    features = nodes["feature"][inner]
    if len(nodes) != state["node_count"] or ((features < 0) | (features >= n_features)).any():
        raise ValueError("a node of a decision tree uses a feature that does not exist")
    n_classes = np.asarray(state["n_classes"], np.intp)
    if n_features < 0 or n_classes.shape != (state["n_outputs"],) or (n_classes < 1).any():
        raise ValueError("the outputs of a decision tree do not fit")
    tree = Tree(n_features, n_classes, int(state["n_outputs"]))
    tree.__setstate__({key: state[key] for key in ("max_depth", "node_count", "nodes", "values")})
    return tree


def check_predictor(value: Any) -> None:
    """`ValueError` if a sample could leave this tree of a histogram booster, or loop in it."""
    nodes = value.nodes
    inner = nodes["is_leaf"] == 0
    _check_children(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), inner)
    for sets in (value.raw_left_cat_bitsets, value.binned_left_cat_bitsets):
        if sets.dtype != np.uint32 or sets.shape[1:] != (8,):
            raise ValueError("the sets of categories are invalid")
        if (nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)] >= len(sets)).any():
            raise ValueError("a node uses a set of categories that does not exist")


def check_booster(value: Any) -> None:
    """`ValueError` if a tree of this histogram booster reads outside the row of a sample."""
    for predictor in (tree for trees in getattr(value, "_predictors", ()) for tree in trees):
        features = predictor.nodes["feature_idx"][predictor.nodes["is_leaf"] == 0]
        if ((features < 0) | (features >= value._n_features)).any():
            raise ValueError("a node uses a feature that does not exist")


def check_decision_tree(value: Any) -> None:
    """`ValueError` if its tree is for rows of another length than it accepts."""
    if hasattr(value, "tree_") and value.tree_.n_features != value.n_features_in_:
        raise ValueError("the tree is for another number of features")


def _check_children(left: np.ndarray, right: np.ndarray, inner: np.ndarray) -> None:
    # A child always comes after its parent, so every path down ends.
    for children in (left, right):
        behind = children[inner]
        if ((behind <= np.flatnonzero(inner)) | (behind >= len(children))).any():
            raise ValueError("a node of a decision tree has a child out of place")


# Neighbours


def take_neighbors(value: Any, walk: Walk, path: str, take: Callable[[Any, str], Node]) -> Object:
    """Its points: the index is built again from them, which gives the same one. `take` takes a metric of the script's."""
    state = value.__getstate__()
    data, leaf_size, metric, weights = state[0], state[4], state[11], state[12]
    kind = type(metric).__name__
    p, vector, matrix, *of_script = metric.__getstate__()
    name = "pyfunc" if of_script else _METRICS.get(kind)
    if name is None:
        walk.refuse(path, f"{type(value).__name__} of metric {kind}", "Use algorithm='brute'.")
    parts = {"data": data, "leaf_size": leaf_size, "metric": name, "p": float(p), "sample_weight": weights}
    if name == "seuclidean" or (name == "minkowski" and np.size(vector)):
        parts["vector"] = np.asarray(vector)
    if name == "mahalanobis":
        parts["matrix"] = np.asarray(matrix)
    made = _nodes(parts, walk, path)
    if of_script:
        function, keywords = of_script
        made["function"] = take(function, paths.child(path, "function"))
        made["keywords"] = take(keywords, paths.child(path, "keywords"))
    return Object("sklearn.neighbors", f"sklearn.neighbors.{type(value).__name__}", made)


def make_neighbors(state: Any, taken: Object) -> Any:
    metric, more = state["metric"], {}
    match metric:
        case "minkowski":
            more = {"p": state["p"]} | ({"w": state["vector"]} if "vector" in state else {})
        case "seuclidean":
            more = {"V": state["vector"]}
        case "mahalanobis":
            more = {"VI": state["matrix"]}
        case "pyfunc":
            if not isinstance(metric := state["function"], types.FunctionType):
                raise ValueError(f"{metric!r} is not a metric")
            more = dict(state["keywords"])
        case _ if metric not in _METRICS.values():
            raise ValueError(f"{metric!r} is not a metric")
    return _NEIGHBORS[taken.type](
        state["data"],
        leaf_size=state["leaf_size"],
        metric=metric,
        sample_weight=state["sample_weight"],
        **more,
    )


# Losses and sparse matrices


def take_call(value: Any, name: str, walk: Walk, path: str) -> Object:
    maker, arguments, *_ = value.__reduce__()
    if maker is not type(value):  # Cython's own form: (class, checksum, attributes)
        *_, attributes = arguments
        if attributes:
            walk.refuse(path, name, "Its arguments are not known.")
        arguments = ()
    return Object(
        "sklearn.call", name, [walk.node(entry, paths.item(path, at)) for at, entry in enumerate(arguments)]
    )


def make_call(state: Any, taken: Object) -> Any:
    kind = COMPILED.named(taken.type)
    if kind is None or not all(isinstance(entry, int | float) for entry in state):
        raise ValueError(f"{taken.type} is not known here, or not made of numbers")
    return kind(*state)


def take_sparse(value: Any, walk: Walk, path: str) -> Object:
    parts = {name: getattr(value, name) for name in ("data", "indices", "indptr")}
    name = f"scipy.sparse.{type(value).__name__}"
    return Object("sklearn.sparse", name, _nodes(parts, walk, path), {"shape": list(value.shape)})


def make_sparse(state: Any, taken: Object) -> Any:
    matrix: Any = SPARSE[taken.type](
        (state["data"], state["indices"], state["indptr"]), shape=tuple(taken.about["shape"])
    )
    matrix.check_format(full_check=True)
    return matrix


# Slices of larger arrays


def is_spread(array: np.ndarray) -> bool:
    """Whether there are gaps between the items in memory. BLAS rounds by them, so they are kept."""
    gaps = not (array.flags.c_contiguous or array.flags.f_contiguous) and array.dtype.names is None
    return gaps and min(array.strides) > 0 and _span_bytes(array, array.strides) <= _MAX_SPREAD * array.nbytes


def take_spread(array: np.ndarray, walk: Walk, path: str) -> Object:
    return Object("sklearn.spread", "numpy.ndarray", walk.node(array, path), {"strides": list(array.strides)})


def make_spread(array: np.ndarray, taken: Object) -> np.ndarray:
    strides = tuple(taken.about["strides"])
    size = _span_bytes(array, strides)
    if min(strides) <= 0 or size > _MAX_SPREAD * array.nbytes:
        raise ValueError("the gaps in an array are invalid")
    made = np.ndarray(array.shape, array.dtype, np.zeros(size, np.uint8), 0, strides)
    made[...] = array
    return made


def _span_bytes(array: np.ndarray, strides: Sequence[int]) -> int:
    steps = zip(array.shape, strides, strict=True)
    return sum((extent - 1) * step for extent, step in steps) + array.itemsize


def _nodes(parts: dict[str, Any], walk: Walk, path: str) -> dict[str, Node]:
    return {name: walk.node(part, paths.child(path, name)) for name, part in parts.items()}
