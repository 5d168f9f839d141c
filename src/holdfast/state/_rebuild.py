"""New values from a state, without the objects it came from and without running code from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import cached_property
from typing import Any

import numpy as np

from .. import collector, dtypes
from ..errors import CheckpointDamagedError, HoldfastError
from ..records import PLAIN, Alias, Bytes, Leaf, Node, Object, Source, leaves
from ..set_order import remade
from ._axes import laid_out
from ._registry import Read, adapter_named, maker_of
from ._tree import aliased

SENSELESS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""The errors that an invalid state can cause in code that reads it."""

_ROOT = object()


def rebuild(source: Source, node: Node = _ROOT) -> Any:
    """The value that `node` (by default the entire state) was captured from, rebuilt.

    Containers come back with their types (a named tuple as a tuple), arrays as what they were (a torch tensor as an ndarray where
    torch is not installed), tied arrays as one object. Random generators come back as generators; of any
    other object only its state comes back, because no class is ever imported by name.

    Raises:
        DamagedError: bytes are not what was saved.
    """
    tree = source.tree
    with collector.paused():
        return Rebuilder(tree, source.read_into).value(tree if node is _ROOT else node)


class Rebuilder:
    """Makes values; an array that is met again is the same object again."""

    def __init__(self, tree: Node, read: Read) -> None:
        self._tree, self._read = tree, read
        self._made: dict[str, Any] = {}
        self._makers: dict[str, Callable[[Leaf, Read], Any]] = {}

    @cached_property
    def _leaves(self) -> Mapping[str, Leaf]:
        return {leaf.path: leaf for leaf in leaves(self._tree)}

    @cached_property
    def _tied(self) -> Set[str]:
        return set(aliased(self._tree))

    def is_tied(self, leaf: Leaf) -> bool:
        """Whether it occurs again elsewhere."""
        return leaf.path in self._tied

    def value(self, node: Node) -> Any:
        match self.resolve(node):
            case Leaf() as leaf:
                if leaf.path in self._made:
                    return self._made[leaf.path]
                made = self._array(leaf)
                if leaf.path in self._tied:  # others are freed as soon as the caller drops them
                    self._made[leaf.path] = made
                return made
            case Object() as taken:
                state = self.value(taken.state)
                fresh = getattr(adapter_named(taken.adapter), "fresh", None)
                return state if fresh is None else _made(fresh, state, taken)
            case dict() as entries:
                return {
                    key: entry if type(entry) in PLAIN else self.value(entry)
                    for key, entry in entries.items()
                }
            case list() | tuple() as items:
                made = [entry if type(entry) in PLAIN else self.value(entry) for entry in items]
                return made if isinstance(items, list) else tuple(made)
            case set() as items:
                return remade(items)
            case plain:
                return plain

    def resolve(self, node: Node) -> Node:
        """`node`, or the leaf that it is an alias of.

        Raises:
            CheckpointDamagedError: there is no such leaf.
        """
        if not isinstance(node, Alias):
            return node
        if node.path not in self._leaves:
            raise CheckpointDamagedError("the state tree", f"an alias of {node.path!r} leads nowhere")
        return self._leaves[node.path]

    def _array(self, leaf: Leaf) -> Any:
        try:
            if leaf.kind not in self._makers:  # an ndarray, if nothing here knows its kind
                self._makers[leaf.kind] = maker_of(leaf.kind) or new_array
            return self._makers[leaf.kind](leaf, self._read)
        except HoldfastError:
            raise
        except (*SENSELESS, RuntimeError) as err:  # no writer could have saved it
            what = f"leaf {leaf.path!r} cannot be rebuilt ({type(err).__name__}: {err})"
            raise CheckpointDamagedError("the state tree", what) from err


def _made(fresh: Callable[[Any, Object], Any], state: Any, taken: Object) -> Any:
    try:
        return fresh(state, taken)
    except (*SENSELESS, RuntimeError) as err:  # torch says most things by RuntimeError
        what = f"what was saved as a {taken.type} is not one ({type(err).__name__}: {err})"
        raise CheckpointDamagedError("the state tree", what) from err


def new_array(leaf: Leaf, read: Read) -> np.ndarray:
    """A new array of the leaf's dtype, shape, memory order and axes, filled."""
    # `np.empty` would make the items of `<U0` four bytes long, and so a large array of what takes no bytes.
    array = np.ndarray(leaf.shape, dtypes.to_numpy(leaf.dtype), order=leaf.order)
    if leaf.size_bytes:
        read(leaf, array_bytes(array, leaf.order))
    return laid_out(array, leaf.axes) if leaf.axes else array


def array_bytes(array: np.ndarray, order: str) -> Bytes:
    """Raw bytes of an array that is contiguous in `order`: a view of shape `(array.nbytes,)`."""
    return (array.T if order == "F" else array).reshape(-1).view(np.uint8)
