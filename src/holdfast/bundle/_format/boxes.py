"""Boxes: rectangular parts of arrays, and layouts, which say which process has written which. Tuples of integers only.

Items of an array, and of a box, are counted in C order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

Shape: TypeAlias = tuple[int, ...]

MAX_ROUNDS = 32  # of cutting boxes apart: those of a mesh need one for each axis
MAX_LAYOUTS = 100_000


class Region(NamedTuple):
    """Where a box is in an array."""

    offset: Shape
    shape: Shape

    @property
    def end(self) -> Shape:
        return tuple(map(sum, zip(self.offset, self.shape, strict=True)))


class Laid(NamedTuple):
    """A box of a layout, and the rank of the process that has written it."""

    rank: int
    region: Region


class Layout(NamedTuple):
    """The boxes of arrays of one shape."""

    shape: Shape
    boxes: tuple[Laid, ...]


def common(one: Region, other: Region) -> Region | None:
    """What both have of the array; None if nothing."""
    offset = tuple(map(max, one.offset, other.offset))
    shape = tuple(map(lambda a, b, first: min(a, b) - first, one.end, other.end, offset))
    return None if shape and min(shape) <= 0 else Region(offset, shape)


def run_regions(first: int, last: int, shape: Shape) -> Iterator[Region]:
    """The items from `first` up to `last` of an array of this shape, as boxes that follow each other in its order."""
    if first >= last:
        return
    if not shape:
        yield Region((), ())
        return
    row = prod(shape[1:])
    begin, end = -(-first // row), last // row  # complete rows
    if begin > end:  # inside of one row
        yield from _in_row(end, first, last, shape)
        return
    yield from _in_row(begin - 1, first, begin * row, shape)
    if begin < end:
        yield Region((begin, *(0 for _ in shape[1:])), (end - begin, *shape[1:]))
    yield from _in_row(end, end * row, last, shape)


def _in_row(index: int, first: int, last: int, shape: Shape) -> Iterator[Region]:
    start = index * prod(shape[1:])
    for part in run_regions(first - start, last - start, shape[1:]):
        yield Region((index, *part.offset), (1, *part.shape))


def check_tiles(shape: Shape, boxes: Sequence[Region]) -> None:
    """ValueError unless the boxes tile an array of this shape."""
    for box in boxes:
        if len(box.offset) != len(shape) or len(box.shape) != len(shape):
            raise ValueError("a box has not as many axes as its array")
        if min(box.shape, default=1) < 1 or min(box.offset, default=0) < 0:
            raise ValueError("a box has no items, or begins before its array")
        if any(end > extent for end, extent in zip(box.end, shape, strict=True)):
            raise ValueError("a box reaches beyond its array")
    if sum(prod(box.shape) for box in boxes) != prod(shape):
        raise ValueError("the boxes have more or fewer items than their array")
    _check_apart(boxes, len(shape))


def _check_apart(boxes: Sequence[Region], axes: int) -> None:
    """ValueError unless planes that cross no box separate all of them. What cannot be separated overlaps, or no mesh has made it."""
    groups = [list(boxes)]
    for turn in range(MAX_ROUNDS):
        groups = [part for group in groups if len(group) > 1 for part in _cut_apart(group, axes, turn)]
        if not any(len(group) > 1 for group in groups):
            return
    raise ValueError("its boxes overlap")


def _cut_apart(boxes: list[Region], axes: int, turn: int) -> Iterator[list[Region]]:
    """Groups with planes between them: those of the first axis that has any; the axes take turns."""
    for axis in [(turn + step) % axes for step in range(axes)]:
        boxes.sort(key=lambda box: box.offset[axis])
        groups: list[list[Region]] = []
        reach = -1
        for box in boxes:
            if box.offset[axis] >= reach:
                groups.append([])
            groups[-1].append(box)
            reach = max(reach, box.offset[axis] + box.shape[axis])
        if len(groups) > 1:
            yield from groups
            return
    raise ValueError("its boxes overlap")


def encode_layouts(layouts: Sequence[Layout]) -> list[list[Any]]:
    """As the head has them."""
    return [[[rank, region.offset, region.shape] for rank, region in layout.boxes] for layout in layouts]
