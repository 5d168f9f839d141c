"""Parts of arrays: which pieces hold them, and where their bytes go.

All is done with bytes: an item is one more axis, as long as it has bytes, so no element type needs to be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np

from ...dtypes import item_size
from ...records import Box, Bytes, Leaf
from .._format.boxes import Region, common, run_regions
from .._format.pieces import Piece, sizes
from .._format.tree import StoredTree
from .._packs import Packs, Target


class Scattered(NamedTuple):
    """A piece of the stored `box`, from byte `start` on; what `wanted` has of it goes into `out`, not in a row."""

    box: Leaf
    start: int
    size: int
    piece: Piece
    wanted: Leaf
    out: Bytes

    def read(self, packs: Packs, codecs: Mapping[str, str]) -> None:
        """Read the entire piece, check it, and copy what is wanted.

        Raises: as `Packs.read`.
        """
        data = np.empty(self.size, np.uint8)
        packs.read(self.box, self.piece, data.data, codecs.get(self.box.path))
        item, turn = item_size(self.box.dtype), self.box.order == "F"
        target, within = (
            _turned(self.out.reshape(*self.wanted.shape, item), turn),
            _in_memory(self.wanted, turn),
        )
        around, begin = _in_memory(self.box, turn), 0
        for part in run_regions(self.start // item, (self.start + self.size) // item, around.shape):
            end = begin + prod(part.shape) * item
            here = Region(tuple(map(sum, zip(around.offset, part.offset, strict=True))), part.shape)
            if (both := common(here, within)) is not None:
                source = data[begin:end].reshape(*part.shape, item)
                target[_slices(both, within)] = source[_slices(both, here)]
            begin = end


class Boxes:
    """The pieces of arrays that are made of boxes, or of which only a box is wanted."""

    def __init__(self, stored: StoredTree) -> None:
        self._stored = stored

    def concern(self, leaf: Leaf) -> bool:
        """Whether its bytes are not those of its pieces, one after the other: it is a box, or made of boxes."""
        return type(leaf) is not Leaf or leaf.path in self._stored.boxes

    def targets(
        self, wanted: Iterable[tuple[Leaf, Bytes]], scattered: list[Scattered]
    ) -> Iterator[tuple[int, Target]]:
        """The pieces to be read, each with its size; those whose bytes do not lie in a row where they are wanted go to `scattered`."""
        for leaf, out in wanted:
            for box, size, piece, start in self.overlapping(leaf):
                at = _place_in_row(box, start, size, leaf)
                if at is None or box.path in self._stored.codecs:
                    scattered.append(Scattered(box, start, size, piece, leaf, out))
                else:
                    yield size, (box, piece, out.data[at : at + size])

    def overlapping(self, wanted: Leaf) -> Iterator[tuple[Leaf, int, Piece, int]]:
        """The pieces with items of the wanted array, or part of it: the stored box, the piece's size, it, and its first byte there.

        Raises:
            ValueError: this is no part of the array.
        """
        array = self._arrays[wanted.path]
        of = wanted.of if isinstance(wanted, Box) else wanted.shape
        if of != array.shape or wanted.dtype != array.dtype:
            raise ValueError(f"{wanted.path!r} is an array {array.dtype} {list(array.shape)}")
        for box in self._stored.boxes.get(wanted.path, (array,)):
            turn = box.order == "F"
            around = _in_memory(box, turn)
            both = common(around, _in_memory(wanted, turn))
            if both is None or not wanted.size_bytes:
                continue
            row = prod(around.shape[1:]) * item_size(box.dtype)
            first = (both.offset[0] - around.offset[0]) * row if around.shape else 0
            last = first + both.shape[0] * row if around.shape else row
            start = 0
            for size, piece in zip(sizes(box), self._stored.pieces[box.path], strict=True):
                if start < last and start + size > first:
                    yield box, size, piece, start
                start += size

    @cached_property
    def _arrays(self) -> Mapping[str, Leaf]:
        return {leaf.path: leaf for leaf in self._stored.leaves}


def _place_in_row(box: Leaf, start: int, size: int, wanted: Leaf) -> int | None:
    """At which byte of `wanted` these bytes of the box are, in a row; None if they are not, or not all are wanted."""
    if box.order == "F" and type(wanted) is Box:
        return None
    around, within = _in_memory(box, box.order == "F"), _in_memory(wanted, box.order == "F")
    if around.shape[1:] != within.shape[1:] or around.offset[1:] != within.offset[1:]:
        return None
    row = prod(around.shape[1:]) * item_size(box.dtype)
    at = start + (around.offset[0] - within.offset[0]) * row if around.shape else start
    return at if 0 <= at <= wanted.size_bytes - size else None


def regions_of_run(leaf: Leaf, start: int, size: int) -> Iterator[Box]:
    """The bytes of a leaf from `start` on, as parts of its array that follow each other."""
    item, around = item_size(leaf.dtype), _in_memory(leaf, False)
    of = leaf.of if isinstance(leaf, Box) else leaf.shape
    for part in run_regions(start // item, (start + size) // item, leaf.shape):
        offset = tuple(map(sum, zip(around.offset, part.offset, strict=True)))
        yield Box(leaf.path, leaf.dtype, part.shape, kind=leaf.kind, of=of, offset=offset)


def _in_memory(leaf: Leaf, turn: bool) -> Region:
    """Where it is in its array, the axes in the order of the stored bytes."""
    offset = leaf.offset if isinstance(leaf, Box) else (0,) * len(leaf.shape)
    return Region(offset[::-1], leaf.shape[::-1]) if turn else Region(offset, leaf.shape)


def _turned(array: np.ndarray, turn: bool) -> np.ndarray:
    """The axes the other way round, but for that of an item's bytes."""
    return array.transpose(*reversed(range(array.ndim - 1)), array.ndim - 1) if turn else array


def _slices(part: Region, of: Region) -> tuple[slice, ...]:
    return tuple(
        slice(first - start, first - start + extent)
        for first, extent, start in zip(part.offset, part.shape, of.offset, strict=True)
    )
