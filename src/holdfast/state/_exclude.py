"""What a checkpoint leaves out: excluded by its user, or an optimizer thinned out later. Its place stays in the tree, marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..paths import matches
from ..records import PLAIN, Node, Object, leaves
from ._tree import OPTIMIZER, aliased, entries

_ADAPTER = "excluded"

THINNED = {"thinned": True}


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches this state path, or one that leads to it (see `paths.matches`)."""
    return any(matches(path, pattern) for pattern in patterns)


def left_out(type_name: str) -> Object:
    """The mark in the tree for a value of this type that was left out."""
    return Object(_ADAPTER, type_name, None)


def is_left_out(node: Node) -> bool:
    return type(node) is Object and node.adapter == _ADAPTER


def all_left_out(tree: Node) -> Iterator[str]:
    """The paths of everything that was left out."""
    return (path for path, node in entries(tree) if is_left_out(node))


def without_optimizers(tree: Node) -> Node | None:
    """The tree with a mark in the place of each optimizer; None if it has none, or something else needs its arrays."""
    thin = _thin(tree)
    gone = {leaf.path for leaf in leaves(tree)} - {leaf.path for leaf in leaves(thin)}
    if not any(_is_mark(node) for _, node in entries(thin)) or not gone.isdisjoint(aliased(thin)):
        return None
    return thin


def all_thinned(tree: Node) -> list[str]:
    """The paths of the optimizers that were given up."""
    return [path for path, node in entries(tree) if _is_mark(node)]


def _thin(node: Node) -> Node:
    if type(node) in PLAIN:
        return node
    if isinstance(node, Object):
        if node.adapter == OPTIMIZER:
            return replace(left_out(node.type), about=THINNED)
        return replace(node, state=_thin(node.state))
    if isinstance(node, dict):
        return {key: _thin(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_thin(value) for value in node)
    return node


def _is_mark(node: Node) -> bool:
    return is_left_out(node) and bool(node.about.get("thinned"))
