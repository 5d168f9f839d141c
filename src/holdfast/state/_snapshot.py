"""A state copied into host memory, where nothing else changes it, and one read in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from .. import dtypes
from ..errors import CheckpointDamagedError
from ..records import Bytes, Leaf, Node
from ._buffers import PAGE_BYTES, Buffers, aligned
from ._copying import Copying
from ._live import FixedArray, Live, piece
from ._walk import Walk

_SMALL_ALIGNMENT = 64  # a cache line; large arrays begin at a page, as direct disk access wants it
_PART_BYTES = 4 << 20
_NOTHING: Final = np.empty(0, np.uint8)


def capture(
    value: Any, *, path: str = "", buffers: Buffers | None = None, exclude: Sequence[str] = ()
) -> MemorySnapshot:
    """Copy the entire state of `value`, usually a dict of live objects by name.

    Arrays are copied into host memory, one block for all of them, by several threads; live objects may change
    as soon as this returns. Every leaf's path begins with `path`. `buffers` lends the memory until `release()`.
    What is at a path that one of the patterns `exclude` matches is left out.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
        MemoryError: there is no memory for the copy.
    """
    walk = Walk(exclude)
    tree = walk.run(value, path)
    return MemorySnapshot(tree, walk.arrays, buffers)


def look(value: Any, *, path: str = "", exclude: Sequence[str] = ()) -> LiveSnapshot:
    """The state of `value` without a copy, valid as long as nothing changes it.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
    """
    walk = Walk(exclude)
    tree = walk.run(value, path)
    return LiveSnapshot(tree, walk.arrays)


class BlockSnapshot:
    """For a snapshot to inherit that keeps the bytes of its leaves in memory of its own."""

    is_live = False
    in_place = True
    tree: Node
    _block: Block

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays; a tied one counts once."""
        return self._block.size_bytes

    def piece(self, leaf: Leaf, start: int, size: int) -> Bytes:
        """Bytes of the leaf, read-only."""
        return self._block.bytes(leaf)[start : start + size]

    def check(self, leaves: Sequence[Leaf]) -> None:
        """Memory is trusted; only the presence of every leaf is checked."""
        for leaf in leaves:
            self._block.bytes(leaf)

    def release(self) -> None:
        """Return the memory to its lender; the snapshot has no bytes any more."""
        self._block.release()


class MemorySnapshot(BlockSnapshot):
    """The state tree and the bytes of its leaves; a `records.Snapshot`, and a `Source` to restore from."""

    def __init__(
        self, tree: Node, arrays: Sequence[tuple[Leaf, Live]], buffers: Buffers | None = None
    ) -> None:
        self.tree = tree
        self._block = Block(arrays, buffers)
        copying = self._block.copying(arrays)
        try:
            copying.run()
        except BaseException:
            copying.stop()
            self.release()
            raise

    def seal(self) -> None:
        """Every byte was copied when the snapshot was made."""

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        out[:] = self._block.bytes(leaf)

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> None:
        for leaf, out in wanted:
            self.read_into(leaf, out)

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        data, item_bytes = self._block.bytes(leaf), dtypes.item_size(leaf.dtype)
        step = max(1, _PART_BYTES // item_bytes) * item_bytes
        for start in range(0, leaf.size_bytes, step):
            yield start, data[start : start + step].copy()  # which torch may take: the snapshot is read-only


class LiveSnapshot:
    """The state tree, and the live arrays that its leaves stand for; a `records.Snapshot`.

    Nothing is copied at once: a save reads the arrays where they are, and those that are not in a
    row in host memory piece by piece. They must not change before the save is committed.
    """

    is_live = True

    def __init__(self, tree: Node, arrays: Sequence[tuple[Leaf, Live]]) -> None:
        self.tree: Node = tree
        self.in_place = all(live.view() is not None for _, live in arrays)
        self._arrays = {leaf.path: (leaf, live) for leaf, live in arrays}

    def piece(self, leaf: Leaf, start: int, size: int) -> Bytes:
        """Bytes of the leaf, valid until the next change: a view of live memory where that can be."""
        return piece(self._array(leaf), start, size)

    def seal(self) -> None:
        """There is nothing to wait for."""

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        out[:] = self.piece(leaf, 0, leaf.size_bytes)

    def check(self, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            self._array(leaf)

    def release(self) -> None:
        """Release the live arrays."""
        self._arrays = {}

    def _array(self, leaf: Leaf) -> Live:
        found = self._arrays.get(leaf.path)
        if found is None or found[0].size_bytes != leaf.size_bytes:
            raise _missing(leaf)
        return found[1]


class Block:
    """One piece of memory with room for each leaf, lent by `buffers` if there are any.

    Of arrays that nobody ever writes it has the memory itself.

    Raises (on construction):
        MemoryError: there is not enough memory.
    """

    def __init__(self, arrays: Sequence[tuple[Leaf, Live]], buffers: Buffers | None) -> None:
        self._buffers = buffers
        never_written = ((leaf, live.view()) for leaf, live in arrays if isinstance(live, FixedArray))
        fixed = {leaf.path: view for leaf, view in never_written if view is not None}
        leaves = (
            [leaf for leaf, _ in arrays if leaf.path not in fixed] if fixed else [leaf for leaf, _ in arrays]
        )
        size, self._starts = _lay_out(leaves)
        device = next((device for _, live in arrays if (device := live.device()) is not None), None)
        memory: Bytes = aligned(size, device) if buffers is None else buffers.take(size, device)
        self._memory: Bytes | None = memory
        self._read = _read_only(memory)
        self._fixed = {path: _read_only(each) for path, each in fixed.items()}
        self.size_bytes = sum(leaf.size_bytes for leaf, _ in arrays)

    def copying(self, arrays: Iterable[tuple[Leaf, Live]]) -> Copying:
        """What copies these arrays to their places; those that nobody ever writes aside."""
        assert self._memory is not None
        starts = self._starts
        cuts = ((starts[leaf.path], leaf.size_bytes, live) for leaf, live in arrays if leaf.path in starts)
        return Copying(self._memory, cuts)

    def bytes(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, read-only."""
        start = self._starts.get(leaf.path)
        at = None if start is None else slice(start, start + leaf.size_bytes)
        data = self._fixed.get(leaf.path) if at is None else self._read[at]
        if data is None or data.nbytes != leaf.size_bytes:
            raise _missing(leaf)
        return data

    def release(self) -> None:
        """Return the memory to its lender: it may be lent to the next snapshot."""
        self._starts, self._fixed = {}, {}
        if self._memory is not None and self._buffers is not None:
            self._buffers.give_back(self._memory)
        self._memory, self._read = None, _NOTHING


def _read_only(room: Bytes) -> Bytes:
    data = room.view()
    data.flags.writeable = False
    return data


def _missing(leaf: Leaf) -> CheckpointDamagedError:
    return CheckpointDamagedError("the snapshot in memory", f"it has no leaf {leaf.path!r} of this size")


def _lay_out(leaves: Sequence[Leaf]) -> tuple[int, dict[str, int]]:
    """How long one block is, and where each leaf begins in it, by path."""
    starts: dict[str, int] = {}
    end = 0
    for leaf in leaves:
        size = leaf.size_bytes
        alignment = PAGE_BYTES if size >= PAGE_BYTES else _SMALL_ALIGNMENT
        starts[leaf.path] = end = -(-end // alignment) * alignment
        end += size
    return end, starts
