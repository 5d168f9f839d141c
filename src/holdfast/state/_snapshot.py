"""A state copied into host memory, where nothing else changes it, and one read in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .. import dtypes
from ..errors import CheckpointDamagedError
from ..records import Bytes, Extent, Leaf, Node, Range
from ._block.buffers import Buffers, aligned
from ._block.copying import Copying
from ._block.region import NOTHING, Region, block_of
from ._live import Live, piece
from ._plan import Plan
from ._walk import Walk

_PART_BYTES = 4 << 20


def capture(
    value: Any,
    *,
    path: str = "",
    buffers: Buffers | None = None,
    plan: Plan | None = None,
    exclude: Sequence[str] = (),
) -> MemorySnapshot:
    """Copy the entire state of `value`, usually a dict of live objects by name.

    Arrays are copied into host memory, one block for all of them, by several threads; live objects may change
    as soon as this returns. Every leaf's path begins with `path`. `buffers` lends the memory until `release()`.
    What is at a path that one of the patterns `exclude` matches is left out. `plan` keeps what the next snapshot of
    the same structure need not find again.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
        MemoryError: there is no memory for the copy.
    """
    walk = Walk(exclude, plan=plan)
    tree = walk.run(value, path)
    return MemorySnapshot(tree, walk.regions(), buffers)


def look(
    value: Any,
    *,
    path: str = "",
    plan: Plan | None = None,
    exclude: Sequence[str] = (),
    with_boxes: bool = False,
) -> LiveSnapshot:
    """The state of `value` without a copy, valid as long as nothing changes it. `plan`: as of `capture`.

    `with_boxes`: what this process has of a state that several save together.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
    """
    walk = Walk(exclude, plan=plan, with_boxes=with_boxes)
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

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        """The bytes of each of these, read-only."""
        return self._block.pieces(wanted)

    def extent(self, wanted: Sequence[Range]) -> Extent | None:
        """Where all of these are, if side by side in this order."""
        return self._block.extent(wanted)

    def check(self, leaves: Sequence[Leaf]) -> None:
        """Memory is trusted; only the presence of every leaf is checked."""
        for leaf in leaves:
            self._block.bytes(leaf)

    def release(self) -> None:
        """Return the memory to its lender; the snapshot has no bytes any more."""
        self._block.release()


class MemorySnapshot(BlockSnapshot):
    """The state tree and the bytes of its leaves; a `records.Snapshot`, and a `Source` to restore from."""

    def __init__(self, tree: Node, regions: Sequence[Region], buffers: Buffers | None = None) -> None:
        self.tree = tree
        self._block = Block(regions, buffers)
        copying = self._block.copying(regions)
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

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        """As `piece`, for each of these."""
        return [self.piece(each.leaf, each.start, each.size).data for each in wanted]

    def extent(self, wanted: Sequence[Range]) -> None:
        """They are where they are."""

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

    def __init__(self, regions: Sequence[Region], buffers: Buffers | None) -> None:
        self._buffers = buffers
        size, starts = block_of(regions)
        device = next((found for each in regions if (found := each.device) is not None), None)
        memory: Bytes = aligned(size, device) if buffers is None else buffers.take(size, device)
        self._memory: Bytes | None = memory
        self._read = _read_only(memory)
        self._all = self._read.data  # always the same object, so that extents of it can be continued
        self._begins = starts
        self._of_regions = [(each.starts, each.fixed) for each in regions]  # and not their live arrays
        self._places: Mapping[str, int] | None = None
        self.size_bytes = sum(each.of_arrays_bytes for each in regions)

    def __getstate__(self) -> dict[str, Any]:
        return {name: each for name, each in vars(self).items() if name != "_all"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._all = self._read.data

    def copying(self, regions: Sequence[Region], only: Collection[str] | None = None) -> Copying:
        """What copies all arrays of the same regions, or those at these paths, to their places."""
        memory = self._memory
        assert memory is not None
        is_lent = self._buffers is not None
        return Copying(
            each.copies(memory[start : start + each.size_bytes], only, is_for_again=is_lent)
            for start, each in zip(self._begins, regions, strict=True)
        )

    def bytes(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, read-only."""
        data = self._find(leaf.path, leaf.size_bytes)
        if data is None or data.nbytes != leaf.size_bytes:
            raise _missing(leaf)
        return data

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        """The bytes of each of these, read-only."""
        memory, starts = self._all, self._starts()
        found: list[memoryview] = []
        for each in wanted:
            if (start := starts.get(each.leaf.path)) is not None:
                start += each.start
                found.append(memory[start : start + each.size])
            else:
                found.append(self.bytes(each.leaf)[each.start : each.start + each.size].data)
        return found

    def extent(self, wanted: Sequence[Range]) -> Extent | None:
        """Where all of these are, if side by side in this order."""
        starts = self._starts()
        first = end = None
        for each in wanted:
            if (start := starts.get(each.leaf.path)) is None:
                return None
            start += each.start
            if first is None:
                first = start
            elif start != end:
                return None
            end = start + each.size
        return None if first is None or end is None else Extent(self._all, first, end)

    def _starts(self) -> Mapping[str, int]:
        """Where the bytes of each leaf are, by path; made by the thread that writes, not while training waits."""
        if self._places is None:
            self._places = {
                path: begin + start
                for begin, (starts, _) in zip(self._begins, self._of_regions, strict=True)
                for path, start in starts.items()
            }
        return self._places

    def _find(self, path: str, size: int) -> Bytes | None:
        if (start := self._starts().get(path)) is not None:
            return self._read[start : start + size]
        fixed = next((fixed[path] for _, fixed in self._of_regions if path in fixed), None)
        return None if fixed is None else _read_only(fixed)

    def release(self) -> None:
        """Return the memory to its lender: it may be lent to the next snapshot."""
        self._places, self._of_regions = {}, []
        if self._memory is not None and self._buffers is not None:
            self._buffers.give_back(self._memory)
        self._memory, self._read = None, NOTHING
        self._all = NOTHING.data


def _read_only(room: Bytes) -> Bytes:
    data = room.view()
    data.flags.writeable = False
    return data


def _missing(leaf: Leaf) -> CheckpointDamagedError:
    return CheckpointDamagedError("the snapshot in memory", f"it has no leaf {leaf.path!r} of this size")
