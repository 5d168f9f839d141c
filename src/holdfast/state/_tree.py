"""Inspecting a state tree without the objects it came from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Final

from .. import paths
from ..records import Alias, Leaf, Node, Object, leaves, leaves_and_aliases

COLLECTION: Final = "collection"
"""The adapter of OrderedDicts, deques and the like; their states are plain dicts and lists."""


OPTIMIZER: Final = "torch.optim.Optimizer"
"""The adapter of optimizers, whose arrays (moments, steps) are not weights."""


def in_optimizers(tree: Node) -> frozenset[str]:
    """The paths of the arrays of optimizers."""
    return frozenset(
        leaf.path
        for _, node in entries(tree)
        if isinstance(node, Object) and node.adapter == OPTIMIZER
        for leaf in leaves(node)
    )


def find(tree: Node, path: str) -> Node:
    """The node at a state path such as `model_graph/encoder/0.weight`; of an alias its target.

    Raises:
        KeyError: there is nothing at `path`.
    """
    node, here = tree, ""
    while here != path:
        below = children(resolve(tree, node), here)
        steps = (step for step in below if f"{path}/".startswith(f"{step[0]}/"))
        here, node = next(steps, (None, None))
        if here is None:
            raise KeyError(path)
    return resolve(tree, node)


def entries(tree: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node that is not a container, with its path, in the order of the tree; `Object`s come before their parts.

    An `Object` that is nothing but an array comes before that, with the same path. `path`: of the tree itself.
    """
    if isinstance(tree, Object) or not isinstance(tree, dict | list | tuple) or not tree:
        yield path, tree
    if isinstance(tree, Object) and isinstance(array := innermost(tree), Leaf | Alias):
        yield path, array
    for below, value in children(tree, path):
        yield from entries(value, below)


def inexact(tree: Node) -> list[str]:
    """Why training what is in the tree further would not come out as without an interruption, one sentence for each part."""
    return [
        f"{path!r}: {node.about['inexact']}"
        for path, node in entries(tree)
        if isinstance(node, Object) and "inexact" in node.about
    ]


def resolve(tree: Node, node: Node) -> Node:
    """`node`, or what it is an alias of.

    Raises:
        KeyError: the alias has no target.
    """
    if not isinstance(node, Alias):
        return node
    for leaf in leaves(tree):
        if leaf.path == node.path:
            return leaf
    raise KeyError(node.path)


def contents(node: Node) -> Node:
    """`node`, or the dict or list inside if it is a collection: of a live one the type is known."""
    return node.state if isinstance(node, Object) and node.adapter == COLLECTION else node


def aliased(node: Node) -> Iterator[str]:
    """The paths that the aliases in `node` lead to."""
    return (each.path for each in leaves_and_aliases(node) if isinstance(each, Alias))


def children(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """The paths and nodes of what `node`, which stands at `path`, holds."""
    node = innermost(node)
    if isinstance(node, dict):
        key: Hashable
        for key, value in node.items():
            yield paths.child(path, key), value
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield paths.item(path, index), value


def innermost(node: Node) -> Node:
    """What is in an `Object`, and in that if it is one, too: an enum's value may be an object itself."""
    while isinstance(node, Object):
        node = node.state
    return node


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
