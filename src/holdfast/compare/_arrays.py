"""How much one array changed: both are streamed side by side, in float64, a block of items at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import dtypes
from ..bundle import Bundle
from ..numerics import Values, is_number, widen
from ..records import Bytes, Leaf
from ._reader import BLOCK_ITEMS, ItemReader


@dataclass(frozen=True, slots=True)
class ArrayChange:
    """How an array that is in both states changed.

    Attributes:
        size: number of items; in `changed` of them the bits differ (the values, if the dtypes differ).
            None if the shapes differ, so that items cannot be paired.
        relative: Euclidean norm of the difference over that of the first array; inf if the first is all
            zeros. largest: the largest absolute change. Both count items that are finite on both sides;
            None for arrays that are not numeric, or were not compared.
        nans, infs: how many items are NaN or infinite, in the first and the second; None if not read.
        is_read: False if digests were enough.
    """

    path: str
    dtypes: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    size: int
    changed: int | None
    relative: float | None = None
    largest: float | None = None
    nans: tuple[int, int] | None = None
    infs: tuple[int, int] | None = None
    is_read: bool = True

    @property
    def is_same(self) -> bool:
        return self.changed == 0 and self.dtypes[0] == self.dtypes[1]

    @property
    def share(self) -> float | None:
        """The share of items that changed, 0 to 1."""
        return None if self.changed is None else self.changed / self.size if self.size else 0.0

    @property
    def most(self) -> tuple[bool, bool, float, float]:
        """In reverse, sorts by what changed most: shapes, then new NaNs and infinities, then by size."""
        is_read = self.nans is not None and self.infs is not None
        worse = is_read and self.nans[1] + self.infs[1] > self.nans[0] + self.infs[0]  # type: ignore[index]
        return self.changed is None, worse, self.relative or 0.0, self.share or 0.0


def compare(a: Bundle, one: Leaf, b: Bundle, other: Leaf) -> ArrayChange:
    """Compare two arrays at one path; nothing is read if their digests are equal.

    Raises:
        PieceDamagedError: bytes are not what was saved.
    """
    unread = ArrayChange(
        *(one.path, (one.dtype, other.dtype), (one.shape, other.shape), prod(one.shape)),
        changed=None,
        is_read=False,
    )
    if one.shape != other.shape:
        return unread
    alike = one.dtype == other.dtype and one.order == other.order
    if alike and [p.digest for p in a.pieces(one)] == [p.digest for p in b.pieces(other)]:
        return replace(unread, changed=0)
    numbers = is_number(one.dtype) and is_number(other.dtype)
    if not numbers and one.dtype != other.dtype:
        return replace(unread, changed=unread.size)
    tally = _Numbers(one.dtype, other.dtype) if numbers else _Things(one.dtype)
    _side_by_side(a, one, b, other, tally, alike)
    return replace(unread, is_read=True, **tally.found())


def _side_by_side(a: Bundle, one: Leaf, b: Bundle, other: Leaf, tally: _Things, alike: bool) -> None:
    if one.order != other.order:  # items are in different places: they can be paired only in complete arrays
        left, right = a.in_c_order(one), b.in_c_order(other)
        sizes = [BLOCK_ITEMS * dtypes.item_size(leaf.dtype) for leaf in (one, other)]
        for block in range(-(-prod(one.shape) // BLOCK_ITEMS)):
            tally.add(*(raw[block * size :][:size] for raw, size in zip((left, right), sizes, strict=True)))
        return
    first, second = ItemReader(a, one), ItemReader(b, other)
    while first.left:
        if alike and first.untouched_piece is not None and first.untouched_piece == second.untouched_piece:
            second.skip(first.left)
            while first.left:
                tally.add_same(first.take(min(first.left, BLOCK_ITEMS)))
        else:
            items = min(first.left, second.left, BLOCK_ITEMS)
            tally.add(first.take(items), second.take(items))
        first.advance()
        second.advance()


class _Things:
    """Counts items whose bytes differ: strings, dates, structures."""

    def __init__(self, dtype: str) -> None:
        self._item = dtypes.item_size(dtype)
        self.changed = 0

    def add(self, a: Bytes, b: Bytes) -> None:
        self.changed += int(np.count_nonzero(self._bits_differ(a, b)))

    def add_same(self, a: Bytes) -> None:
        """Items that are known to be equal on both sides."""

    def found(self) -> dict[str, Any]:
        """Attributes of an `ArrayChange`."""
        return {"changed": self.changed}

    def _bits_differ(self, a: Bytes, b: Bytes) -> npt.NDArray[np.bool_]:
        if self._item in (1, 2, 4, 8):
            return a.view(f"u{self._item}") != b.view(f"u{self._item}")
        return (a.reshape(-1, self._item) != b.reshape(-1, self._item)).any(axis=1)


class _Numbers(_Things):
    """Norms, the largest change, NaNs and infinities of two streams of numbers."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)
        self._types = one, other
        # Integers are subtracted as such: neighbours beyond 2**53 are one float64.
        self._integers = one == other and one.startswith(("int", "uint")) and dtypes.is_in_numpy(one)
        self._norm, self._gap = _Norm(), _Norm()
        self._nans, self._infs = [0, 0], [0, 0]

    def add(self, a: Bytes, b: Bytes) -> None:
        x, y = self._look(0, a), self._look(1, b)
        if self._types[0] == self._types[1]:
            super().add(a, b)
        else:
            self.changed += int(np.count_nonzero((x != y) & ~(np.isnan(x) & np.isnan(y))))
        both = np.isfinite(x) & np.isfinite(y)
        if not both.all():
            x, y = x[both], y[both]
        with np.errstate(all="ignore"):
            self._norm.add(np.abs(x))
            self._gap.add(_distance(a, b, self._types[0]) if self._integers else np.abs(y - x))

    def add_same(self, a: Bytes) -> None:
        x = self._look(0, a)
        self._count(1, x)
        self._norm.add(np.abs(x[np.isfinite(x)]))

    def found(self) -> dict[str, Any]:
        before, gap = self._norm.value, self._gap.value
        return super().found() | {
            "relative": gap / before if before else math.inf if gap else 0.0,
            "largest": self._gap.largest,
            "nans": tuple(self._nans),
            "infs": tuple(self._infs),
        }

    def _look(self, side: int, raw: Bytes) -> Values:
        values = widen(raw, self._types[side])
        self._count(side, values)
        return values

    def _count(self, side: int, values: Values) -> None:
        if not np.isfinite(values).all():
            self._nans[side] += int(np.count_nonzero(np.isnan(values)))
            self._infs[side] += int(np.count_nonzero(np.isinf(values)))


def _distance(a: Bytes, b: Bytes, dtype: str) -> npt.NDArray[np.float64]:
    wide = np.uint64 if dtype.startswith("u") else np.int64
    x, y = (raw.view(dtypes.to_numpy(dtype)).astype(wide) for raw in (a, b))
    return (np.maximum(x, y) - np.minimum(x, y)).view(np.uint64).astype(np.float64)


class _Norm:
    """The Euclidean norm of a stream of magnitudes, scaled so that squares neither overflow nor vanish.

    Source: J. L. Blue, ACM TOMS 4(1), 1978, pp. 15-23; here with one running scale.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self._squares = 0.0  # in units of largest**2

    def add(self, magnitudes: npt.NDArray[np.float64]) -> None:
        top = float(magnitudes.max(initial=0.0))
        if top > self.largest:
            self._squares *= (self.largest / top) ** 2 if top < math.inf else 0.0
            self.largest = top
        if top and self.largest < math.inf:
            scaled = magnitudes / self.largest
            self._squares += float(np.einsum("i,i", scaled, scaled))

    @property
    def value(self) -> float:
        return self.largest * math.sqrt(self._squares) if self.largest < math.inf else math.inf
