"""One digest for an entire state: equal states have equal digests, wherever their bytes are."""

from __future__ import annotations

import struct
from typing import Any, Protocol

import numpy as np
from blake3 import blake3

from .. import dtypes, paths
from ..records import Bytes, Leaf, Node, Object
from ._kinds import kind_of
from ._rebuild import Rebuilder

_ROOT = object()


class Readable(Protocol):
    """A `records.Source`, or a snapshot of what is live."""

    @property
    def tree(self) -> Node: ...

    def read_into(self, leaf: Leaf, out: Bytes) -> None: ...


def digest(source: Readable, node: Node = _ROOT) -> str:
    """BLAKE3 (64 hex digits) of `node` (by default the entire state).

    Covers structure, dtypes, shapes and bytes. The order of dict entries, the memory order of arrays
    and which arrays are tied are left out; so is what classes are called, and where they are defined.

    Raises:
        DamagedError: bytes are not what was saved.
    """
    return _Digester(source).of(source.tree if node is _ROOT else node).hex()


class _Digester:
    def __init__(self, source: Readable) -> None:
        self._source = source
        self._rebuilder = Rebuilder(source.tree, source.read_into)
        self._known: dict[str, bytes] = {}

    def of(self, node: Node) -> bytes:
        match self._rebuilder.resolve(node):
            case Leaf() as leaf:
                if leaf.path not in self._known:
                    self._known[leaf.path] = self._leaf(leaf)
                return self._known[leaf.path]
            case Object(adapter, _, state, about) as taken:
                kind = kind_of(taken)
                return _hash("object", adapter.encode(), kind.encode(), self.of(state), self.of(dict(about)))
            case dict() as entries:
                pairs = sorted((_key(key), self.of(value)) for key, value in entries.items())
                return _hash("dict", *(part for pair in pairs for part in pair))
            case list() | tuple() as items:
                return _hash(type(items).__name__, *map(self.of, items))
            case set() | frozenset() as items:
                return _hash(type(items).__name__, *sorted(map(self.of, items)))
            case plain:
                return _hash(type(plain).__name__, _plain_bytes(plain))

    def _leaf(self, leaf: Leaf) -> bytes:
        data = np.empty(leaf.size_bytes, np.uint8)
        if data.nbytes:
            self._source.read_into(leaf, data)
        if leaf.order == "F":
            data = dtypes.turned(data, leaf.dtype, leaf.shape, leaf.order)
        # A bytes leaf is long bytes; whether an array was NumPy's or torch's does not matter.
        tag = "bytes" if leaf.kind == "bytes" else "array"
        return _hash(tag, leaf.dtype.encode(), repr(leaf.shape).encode(), blake3(data.data).digest())


def _key(key: Any) -> bytes:
    return paths.child("", key).encode()


def _plain_bytes(value: Any) -> bytes:
    match value:
        case float():
            return struct.pack("<d", value)
        case complex():
            return struct.pack("<dd", value.real, value.imag)
        case int():
            return hex(value).encode()  # str() refuses very long ones
        case str():
            return value.encode("utf-8", "surrogatepass")
        case bytes():
            return value
        case None:
            return b""
        case _:
            return repr(value).encode("utf-8", "surrogatepass")


def _hash(tag: str, *parts: bytes) -> bytes:
    hasher = blake3(tag.encode())
    for part in parts:
        hasher.update(struct.pack("<Q", len(part)))
        hasher.update(part)
    return hasher.digest()
