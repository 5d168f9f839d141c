"""The tree of a `Birch`: its nodes in order, their subclusters as rows, and the chain of its leaves.

Links would be cycles, so they are numbers in the state; a child always comes after its parent.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from sklearn.cluster import _birch

from .... import paths
from ....records import Object
from ..._walk import Walk

CFNode: TypeAlias = _birch._CFNode  # type: ignore[attr-defined]
_ROWS = ("linear_sum_", "centroid_")
_NUMBERS = ("squared_sum_", "sq_norm_")
BEFORE = "before_first_leaf"


def take_root(root: Any, walk: Walk, path: str) -> tuple[Object, Any]:
    """The state of the tree, and the empty leaf before the first one."""
    nodes = [root]
    for node in nodes:
        nodes += [each.child_ for each in node.subclusters_ if each.child_ is not None]
    number = {id(node): at for at, node in enumerate(nodes)}
    first = next(node for node in nodes if node.is_leaf)
    while first.prev_leaf_ is not None:
        first = first.prev_leaf_
    chain, leaf = [], first.next_leaf_
    while leaf is not None:
        chain.append(number.get(id(leaf)))
        leaf = leaf.next_leaf_
    if len(number) < len(nodes) or None in chain or len(chain) != sum(node.is_leaf for node in nodes):
        walk.refuse(path, "tree of a Birch whose leaves are not those of its chain")
    states = [_of_node(node, number) for node in nodes]
    state = {"nodes": states, "chain": chain, "before": _of_node(first, number)}
    return Object(
        "sklearn.birch", "sklearn.cluster.Birch", walk.node(state, paths.child(path, "tree"))
    ), first


def _of_node(node: Any, number: dict[int, int]) -> dict[str, Any]:
    found = node.subclusters_
    return {
        "threshold": node.threshold,
        "branching_factor": node.branching_factor,
        "is_leaf": node.is_leaf,
        "init_centroids_": node.init_centroids_,
        "init_sq_norm_": node.init_sq_norm_,
        "num_samples": [each.n_samples_ for each in found],
        "children": [None if each.child_ is None else number[id(each.child_)] for each in found],
        **{name: _stacked([getattr(each, name) for each in found]) for name in (*_ROWS, *_NUMBERS)},
    }


def _stacked(values: list[Any]) -> np.ndarray | None:
    return np.stack([np.asarray(value) for value in values]) if values else None


def make_root(state: Any) -> tuple[Any, Any]:
    """The tree and the empty leaf before its first one; `ValueError` if a walk through it would not end."""
    made = [_node(each) for each in state["nodes"]]
    given: set[int] = set()
    for at, (node, each) in enumerate(zip(made, state["nodes"], strict=True)):
        for subcluster, child in zip(node.subclusters_, each["children"], strict=True):
            if child is None:
                continue
            if not at < child < len(made) or child in given:
                raise ValueError("a node of a Birch has a child out of place")
            given.add(child)
            subcluster.child_ = made[child]
    chain = state["chain"]
    if sorted(chain) != [at for at, node in enumerate(made) if node.is_leaf]:
        raise ValueError("the leaves of a Birch are not those of its chain")
    before = first = _node(state["before"])
    for at in chain:
        before.next_leaf_, made[at].prev_leaf_ = made[at], before
        before = made[at]
    return made[0], first


def _node(state: Any) -> Any:
    centroids, norms = state["init_centroids_"], state["init_sq_norm_"]
    count = len(state["num_samples"])
    if centroids.ndim != 2 or norms.shape != centroids.shape[:1] or count > len(norms):
        raise ValueError("a node of a Birch does not fit its arrays")
    node = CFNode(
        threshold=state["threshold"],
        branching_factor=len(norms) - 1,
        is_leaf=state["is_leaf"],
        n_features=centroids.shape[1],
        dtype=centroids.dtype,
    )
    node.branching_factor = state["branching_factor"]
    node.init_centroids_, node.init_sq_norm_ = centroids, norms
    if count:  # views, as it makes them itself
        node.centroids_, node.squared_norm_ = centroids[:count, :], norms[:count]
    node.subclusters_ = [_subcluster(state, at) for at in range(count)]
    return node


def _subcluster(state: Any, at: int) -> Any:
    made = _birch._CFSubcluster()  # type: ignore[attr-defined]
    made.n_samples_ = state["num_samples"][at]
    for name in _ROWS:
        setattr(made, name, state[name][at].copy())
    for name in _NUMBERS:
        setattr(made, name, state[name][at])
    return made
