"""What `exclude` leaves out of a checkpoint: a mark in the tree takes its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..paths import matches
from ..records import Node, Object
from ._tree import entries

_ADAPTER = "excluded"


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches this state path, or one that leads to it (see `paths.matches`)."""
    return any(matches(path, pattern) for pattern in patterns)


def left_out(type_name: str) -> Object:
    """The mark in the tree for a value of this type that was left out."""
    return Object(_ADAPTER, type_name, None)


def is_left_out(node: Node) -> bool:
    return isinstance(node, Object) and node.adapter == _ADAPTER


def all_left_out(tree: Node) -> Iterator[str]:
    """The paths of everything that was left out."""
    return (path for path, node in entries(tree) if is_left_out(node))
