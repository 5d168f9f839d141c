"""Pieces: the contiguous runs of an array by which bytes are identified, shared and verified.

A piece is 4 MiB of whole rows (16 MiB in arrays above 8 GiB); an array whose rows are longer than that
is cut as one flat run of items. Rows are counted in memory order, so those of an F-ordered array are
slices of its last axis. The cut depends on dtype, shape and order alone: an array that did not change
has the same pieces in every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from ..dtypes import item_size, safetensors_name
from ..records import Leaf

PIECE_BYTES = 4 << 20
LARGE_PIECE_BYTES = 16 << 20
LARGE_ARRAY_BYTES = 8 << 30
MAX_PIECE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Where the bytes of one piece are: `key` in the pack `file`, and what they must be."""

    file: str
    key: str
    blake3: str
    xxh3: str
    born: int  # the `seq` of the checkpoint that first held these bytes at this place


@dataclass(frozen=True, slots=True)
class Cut:
    """One piece of a leaf, before it is known where its bytes will be."""

    leaf: Leaf
    start: int  # in bytes of the leaf
    size: int  # in bytes
    key: str
    dtype: str  # as safetensors names it
    shape: tuple[int, ...]


def cuts(leaf: Leaf) -> Iterator[Cut]:
    """The pieces of a leaf in the order of its bytes; none for an empty array."""
    size = leaf.size_bytes
    if not size:
        return
    shape = leaf.shape if leaf.order == "C" else leaf.shape[::-1]
    target = LARGE_PIECE_BYTES if size > LARGE_ARRAY_BYTES else PIECE_BYTES
    if not shape or size // shape[0] > target:
        shape = (prod(shape),)
    rows, row_bytes = shape[0], size // shape[0]
    step = max(1, target // row_bytes)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        key = leaf.path if step >= rows else f"{leaf.path}[{first}:{last}]"
        run = shape if step >= rows else (last - first, *shape[1:])
        # 0-d arrays stay 0-d in the pack; what safetensors has no name for is stored as bytes.
        run = leaf.shape if not leaf.shape else run
        count_bytes = (last - first) * row_bytes
        name = safetensors_name(leaf.dtype)
        if name is None:
            name, run = "U8", (count_bytes,)
        yield Cut(leaf, first * row_bytes, count_bytes, key, name, run)


def large_items(leaf: Leaf) -> bool:
    """Whether a single item is larger than a piece may be: such an array cannot be stored."""
    return item_size(leaf.dtype) > MAX_PIECE_BYTES
