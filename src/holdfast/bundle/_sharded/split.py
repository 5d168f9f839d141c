"""What one rank has captured, taken apart: what all have alike, its boxes of arrays, and what is its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blake3 import blake3

from ...errors import UnsupportedStateError
from ...records import BY_RANK, Alias, Box, Leaf, Node, Object, leaves, leaves_and_aliases
from .._format.boxes import Region
from .._format.tree_text import TreeText
from .plan import Claim


@dataclass(frozen=True, slots=True)
class Split:
    """`head` is the tree with arrays in the place of their boxes, and without what is each rank's own; `own` has that."""

    head: Node
    boxes: Sequence[Box]
    own: Sequence[Node]

    @property
    def claims(self) -> list[Claim]:
        """The boxes that have items."""
        return [
            Claim(box.path, box.dtype, box.of, Region(box.offset, box.shape))
            for box in self.boxes
            if box.size_bytes
        ]

    @property
    def structure(self) -> str:
        """The digest of what all ranks must have alike for rank 0's head to speak for all: names and arrays, not plain values."""
        laid = {box.path: 0 for box in self.boxes}
        return blake3(TreeText(_without_values(self.head), layouts=laid).outline).hexdigest()


def _without_values(node: Node) -> Node:
    match node:
        case Object():
            return replace(node, state=_without_values(node.state), about={})
        case dict():
            return {key: _without_values(item) for key, item in node.items()}
        case list() | tuple():
            return [_without_values(item) for item in node]
        case Leaf() | Alias():
            return node
        case _:
            return None


def split(tree: Node) -> Split:
    """Take the tree of this rank apart.

    Raises:
        UnsupportedStateError: what is this rank's own has boxes of arrays, or shares arrays with the rest.
    """
    boxes: list[Box] = []
    own: list[Node] = []

    def head(node: Node) -> Node:
        match node:
            case Box():
                boxes.append(node)
                return Leaf(node.path, node.dtype, node.of, "C", node.kind)
            case Object(adapter=adapter) if adapter == BY_RANK:
                own.append(node.state)
                return replace(node, state=None)
            case Object():
                return replace(node, state=head(node.state))
            case dict():
                return {key: head(item) for key, item in node.items()}
            case list() | tuple():
                return type(node)(map(head, node))
            case _:
                return node

    found = Split(head(tree), boxes, own)
    _check_apart(found)
    return found


def _check_apart(found: Split) -> None:
    """Nothing of one part is an alias of something in another: each is read without the others."""
    for node in (found.head, *found.own):
        inside = {leaf.path for leaf in leaves(node)}
        for each in leaves_and_aliases(node):
            if isinstance(each, Box):
                what = "array that is spread over processes, among values that each process has for itself"
                raise UnsupportedStateError(each.path, what, "Save it beside them.")
            if isinstance(each, Alias) and each.path not in inside:
                what = "array that is both a process's own and part of what all have"
                raise UnsupportedStateError(each.path, what, "Save it in one of these places.")
