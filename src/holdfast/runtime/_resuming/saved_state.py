"""What a checkpoint holds, by digest: at the first step after a resume the live state is compared with it.

A restore that cannot put something in its place raises. What is written between it and the first step (an initialisation
inside `with Run(...)`, an optimizer that a framework builds anew), and an object that was restored twice because two
places hold it, shows only here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from blake3 import blake3

from ... import dtypes, paths, rng, state
from ...bundle import Bundle
from ...errors import HoldfastError
from ...records import Alias, Bytes, Leaf, Node, Object
from ...variables import is_own_class

_MAX_NAMED: Final = 2
_THREADED_BYTES: Final = 1 << 20  # for less, one thread is quicker
_LOADERS: Final = frozenset({"state_dict", "get_state"})
_OF_LOADERS: Final = ("dataset", "sampler", "batch_sampler", "batch_size", "loader", "set_epoch")
_ABSENT: Final = object()


class SavedState:
    """Objects as they should be; of their arrays only the digests are kept.

    Args:
        tree: by the names of the objects.
        pieces: called for each leaf: its digests, each with the first byte that it covers, and how many.
        but: patterns of paths that are not compared: what was left as the script has it, and is told elsewhere.
    """

    def __init__(
        self,
        tree: Mapping[str, Node],
        pieces: Callable[[Leaf], list[tuple[int, int, str]]],
        but: Sequence[str] = (),
    ) -> None:
        self._tree = dict(tree)
        self._nodes = dict(state.nodes(self._tree))
        self._but = but
        self._pieces = {node.path: pieces(node) for node in self._nodes.values() if isinstance(node, Leaf)}

    @classmethod
    def of(cls, opened: Bundle, names: Collection[str], but: Sequence[str] = ()) -> SavedState:
        """Those called `names` in an opened bundle."""
        tree = opened.tree
        assert isinstance(tree, dict)

        def pieces(leaf: Leaf) -> list[tuple[int, int, str]]:
            return [(piece.start, piece.size, piece.digest) for piece in opened.pieces(leaf)]

        return cls({name: tree[name] for name in names if name in tree}, pieces, but)

    @classmethod
    def of_live(cls, objects: Mapping[str, Any], but: Sequence[str] = ()) -> SavedState:
        """These objects as they are now, just restored from bytes that were checked: a process has only parts of their arrays."""
        snapshot = _look(objects)
        assert isinstance(snapshot.tree, dict)

        def pieces(leaf: Leaf) -> list[tuple[int, int, str]]:
            size = leaf.size_bytes
            return [(0, size, _digest(snapshot.piece(leaf, 0, size)))] if size else []

        return cls(snapshot.tree, pieces, but)

    def differences(self, live: Mapping[str, Any]) -> list[str]:
        """A sentence for each object that is not as it was saved; nothing is changed, and nothing drawn."""
        compared = {
            name: live[name]
            for name in self._tree
            if name in live and not _is_loader(self._tree[name], live[name])
        }
        try:
            snapshot = _look(compared)
        except HoldfastError as err:
            return [f"the state could not be compared with what was saved: {err}"]
        now = dict(state.nodes(snapshot.tree))
        differing: dict[str, list[str]] = {}
        turned: dict[str, list[str]] = {}
        for path in dict.fromkeys([*self._nodes, *now]):
            name = path.partition("/")[0]
            if name not in compared:
                continue
            if self._differs(path, now, snapshot):
                differing.setdefault(name, []).append(path)
            elif self._lies_otherwise(path, now):
                turned.setdefault(name, []).append(path)
        found = [
            f"{name!r} is not as it was saved: {_listed(those)} changed before the first step"
            for name, those in differing.items()
        ]
        return found + [
            f"{name!r} has other strides than it had: {_listed(those)} (memory format), so sums may be rounded otherwise"
            for name, those in turned.items()
        ]

    def _lies_otherwise(self, path: str, live: Mapping[str, Node]) -> bool:
        """Whether the items of an array are in another order in memory, in which kernels add them."""
        was, now = _resolved(self._nodes, path), _resolved(live, path)
        are_arrays = isinstance(was, Leaf) and isinstance(now, Leaf)
        return are_arrays and (was.order, was.axes) != (now.order, now.axes)

    def _differs(self, path: str, live: Mapping[str, Node], snapshot: state.LiveSnapshot) -> bool:
        was, now = _resolved(self._nodes, path), _resolved(live, path)
        if state.is_left_out(was) or any(_concerns(path, each) for each in self._but):
            return False
        if isinstance(was, Leaf) and isinstance(now, Leaf):
            return not self._is_same_array(was, now, snapshot)
        return not state.is_same(was, now)

    def _is_same_array(self, was: Leaf, now: Leaf, snapshot: state.LiveSnapshot) -> bool:
        if (was.dtype, was.shape) != (now.dtype, now.shape):
            return False
        turned = None if was.order == now.order else _turned(now, snapshot)
        for start, size, digest in self._pieces[was.path]:
            data = snapshot.piece(now, start, size) if turned is None else turned[start : start + size]
            if _digest(data) != digest:
                return False
        return True


def _look(objects: Mapping[str, Any]) -> state.LiveSnapshot:
    with rng.preserved():
        return state.look(objects, with_boxes=True)


def _digest(data: Bytes) -> str:
    threads = blake3.AUTO if data.nbytes > _THREADED_BYTES else 1
    return blake3(data.data, max_threads=threads).hexdigest()


def _resolved(nodes: Mapping[str, Node], path: str) -> Node:
    node = nodes.get(path, _ABSENT)
    return nodes.get(node.path, node) if isinstance(node, Alias) else node


def _concerns(path: str, pattern: str) -> bool:
    """Whether `path` is meant, or holds what is: of an empty dict there is only the dict."""
    return paths.matches(path, pattern) or pattern.startswith(f"{path}/")


def _is_loader(node: Node, live: Any) -> bool:
    """Whether asking for its state may begin to iterate over data, whose position is compared as such.

    An object of the user's own that can be iterated, a replay buffer say, is none, unless it loads something.
    """
    if not (isinstance(node, Object) and node.adapter in _LOADERS and hasattr(type(live), "__iter__")):
        return False
    return not is_own_class(type(live)) or any(hasattr(live, name) for name in _OF_LOADERS)


def _turned(leaf: Leaf, snapshot: state.LiveSnapshot) -> Bytes:
    """The bytes of the array in the other memory order."""
    raw = np.empty(leaf.size_bytes, np.uint8)
    snapshot.read_into(leaf, raw)
    return dtypes.turned(raw, leaf.dtype, leaf.shape, leaf.order)


def _listed(found: Sequence[str]) -> str:
    more = len(found) - _MAX_NAMED
    return ", ".join(found[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
