"""Dropping optimizers: what is needed to use a model stays, what is needed to train it further does not."""

from __future__ import annotations

from ..records import PLAIN, Node, Object, leaves
from ._exclude import is_left_out, left_out
from ._tree import OPTIMIZER, aliased, entries

THINNED = {"thinned": True}


def without_optimizers(tree: Node) -> Node | None:
    """The tree with a mark in place of each optimizer; None if it has none, or something else needs its arrays."""
    thin = _thin(tree)
    gone = {leaf.path for leaf in leaves(tree)} - {leaf.path for leaf in leaves(thin)}
    if not any(_is_mark(node) for _, node in entries(thin)) or not gone.isdisjoint(aliased(thin)):
        return None
    return thin


def all_thinned(tree: Node) -> list[str]:
    """The paths of the optimizers that were dropped."""
    return [path for path, node in entries(tree) if _is_mark(node)]


def _thin(node: Node) -> Node:
    if type(node) in PLAIN:
        return node
    if isinstance(node, Object):
        if node.adapter == OPTIMIZER:
            mark = left_out(node.type)
            return Object(mark.adapter, mark.type, mark.state, THINNED)
        return Object(node.adapter, node.type, _thin(node.state), node.about)
    if isinstance(node, dict):
        return {key: _thin(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_thin(value) for value in node)
    return node


def _is_mark(node: Node) -> bool:
    return is_left_out(node) and bool(node.about.get("thinned"))
