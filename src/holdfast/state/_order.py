"""Which of several places that name the same array holds it: the first in the tree."""

from __future__ import annotations

from dataclasses import replace

from ..records import Alias, Leaf, Node, Object
from ._tree import children, entries


def moved_forward(tree: Node, root: str) -> dict[str, str]:
    """By path, the leaves that an earlier part of the tree is an alias of, and the first such alias's path.

    An optimizer is captured after everything else, wherever it stands; what shares its arrays has come first.
    """
    seen: set[str] = set()
    first: dict[str, str] = {}
    for path, node in entries(tree, root):
        if isinstance(node, Leaf):
            seen.add(node.path)
        elif isinstance(node, Alias) and node.path not in seen:
            first.setdefault(node.path, path)
    return first


def in_order(node: Node, leaves: dict[str, Leaf], path: str) -> Node:
    """The tree with these leaves, which are given by their old paths, in their new places, and aliases of them elsewhere."""
    match node:
        case Leaf(path=old) | Alias(path=old) if (leaf := leaves.get(old)) is not None:
            return leaf if leaf.path == path else Alias(leaf.path)
        case Object(state=state):
            return replace(node, state=in_order(state, leaves, path))
        case dict():
            return {
                key: in_order(item, leaves, below)
                for (key, item), (below, _) in zip(node.items(), children(node, path), strict=True)
            }
        case list() | tuple():
            return type(node)(in_order(item, leaves, below) for below, item in children(node, path))
        case _:
            return node
