"""Whether what is saved now will fit what the script builds when it is started again: told by what it had built."""

from __future__ import annotations

from collections.abc import Iterator

from ... import paths
from ...records import Leaf, Node, Object
from .._fit import other_way, said, unmakeable
from .._tree import contents
from ..adapters.dataclass import Dataclass

_PLAIN_LEAVES = ("scalar", "bytes")


def unfit(start: Node, now: Node, path: str = "") -> Iterator[str]:
    """A sentence for each part of `now` that could not be restored into objects of which `start` was the state."""
    start, now = contents(start), contents(now)
    match start, now:
        case dict(), dict() if start.keys() == now.keys():
            for key in start:
                yield from unfit(start[key], now[key], paths.child(path, key))
        case (list(), list()) | (tuple(), tuple()) if len(start) == len(now):
            for index, (one, other) in enumerate(zip(start, now, strict=True)):
                yield from unfit(one, other, paths.item(path, index))
        case Leaf(), Leaf() if start.kind not in _PLAIN_LEAVES:
            if (start.dtype, start.shape) != (now.dtype, now.shape):
                yield f"{path}: {said(now)}, which was {said(start)} at the start"
        case Object(), Object() if start.adapter == now.adapter == Dataclass.name:
            yield from unfit(start.state, now.state, path)
        case Object(), Object() if start.adapter == now.adapter:
            return
        case _ if _is_plain(start):
            for lost in unmakeable(now):
                yield f"{path}: {said(lost)}, of which there was none at the start{other_way(lost)}"
                return
        case _:
            yield f"{path}: {_size(now)}, which was {_size(start)} at the start"


def _is_plain(node: Node) -> bool:
    node = contents(node)
    match node:
        case dict():
            return all(map(_is_plain, node.values()))
        case list() | tuple():
            return all(map(_is_plain, node))
        case Leaf():
            return node.kind in _PLAIN_LEAVES
        case Object():
            return next(unmakeable(node), None) is None
        case _:
            return True


def _size(node: Node) -> str:
    return f"{said(node)} of {len(node)}" if isinstance(node, dict | list | tuple) else said(node)
