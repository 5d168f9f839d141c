"""A state in host memory that nobody else can change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .. import dtypes
from ..errors import CheckpointDamagedError
from ..records import Bytes, Leaf, Node
from ._buffers import PAGE_BYTES, Buffers, aligned
from ._walk import Copier, Walk

_SMALL_ALIGNMENT = 64  # a cache line; large arrays begin at a page, as direct disk access wants it
_PART_BYTES = 4 << 20


def capture(value: Any, *, path: str = "", buffers: Buffers | None = None) -> MemorySnapshot:
    """Copy the whole state of `value`, usually a dict of live objects by name.

    Arrays are copied into host memory, one block for all of them; live objects may change as soon as this
    returns. Every leaf's path begins with `path`. `buffers` lends the memory until `release()`.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
        MemoryError: there is no memory for the copy.
    """
    walk = Walk()
    tree = walk.run(value, path)
    return MemorySnapshot(tree, walk.copies, buffers)


class MemorySnapshot:
    """The state tree and the bytes of its leaves; a `records.Snapshot`."""

    def __init__(
        self, tree: Node, copies: Sequence[tuple[Leaf, Copier]], buffers: Buffers | None = None
    ) -> None:
        self._tree = tree
        self._buffers = buffers
        size, starts = _lay_out([leaf for leaf, _ in copies])
        self._block: Bytes | None = aligned(size) if buffers is None else buffers.take(size)
        self._bytes: dict[str, Bytes] = {}
        for (leaf, copy), start in zip(copies, starts, strict=True):
            data = self._block[start : start + leaf.size_bytes]
            if leaf.dtype.startswith("["):
                data[:] = 0  # the gaps between fields are not copied, and must not vary
            if data.nbytes:
                copy(data)
            data.flags.writeable = False
            self._bytes[leaf.path] = data

    @property
    def tree(self) -> Node:
        return self._tree

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays; a tied one counts once."""
        return sum(data.nbytes for data in self._bytes.values())

    def ready(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, read-only."""
        data = self._bytes.get(leaf.path)
        if data is None or data.nbytes != leaf.size_bytes:
            raise CheckpointDamagedError(
                "the snapshot in memory", f"it has no leaf {leaf.path!r} of this size"
            )
        return data

    def seal(self) -> None:
        """Every byte was copied when the snapshot was made."""

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        out[:] = self.ready(leaf)

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> None:
        for leaf, out in wanted:
            self.read_into(leaf, out)

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        data, item_bytes = self.ready(leaf), dtypes.item_size(leaf.dtype)
        step = max(1, _PART_BYTES // item_bytes) * item_bytes
        for start in range(0, leaf.size_bytes, step):
            yield start, data[start : start + step].copy()  # which torch may take: the snapshot is read-only

    def check(self, leaves: Sequence[Leaf]) -> None:
        """Memory is trusted; only that every leaf is there is checked."""
        for leaf in leaves:
            self.ready(leaf)

    def release(self) -> None:
        """Give the memory back to whoever lent it; the snapshot has no bytes any more."""
        self._bytes = {}
        if self._block is not None and self._buffers is not None:
            self._buffers.give_back(self._block)
        self._block = None


def _lay_out(leaves: Sequence[Leaf]) -> tuple[int, list[int]]:
    """Where each leaf begins in one block, and how long that is."""
    starts, end = [], 0
    for leaf in leaves:
        alignment = PAGE_BYTES if leaf.size_bytes >= PAGE_BYTES else _SMALL_ALIGNMENT
        end = -(-end // alignment) * alignment
        starts.append(end)
        end += leaf.size_bytes
    return end, starts
