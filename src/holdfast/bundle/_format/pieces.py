"""Pieces: the contiguous runs of an array by which bytes are identified, shared and verified.

A piece is 4 MiB of complete rows (16 MiB in arrays above 8 GiB), and of so many rows that it fills complete pages
where that is possible; an array whose rows are longer than that is cut as one flat run of items. Rows are
counted in memory order, so those of an F-ordered array are slices of its last axis. The cut depends on
dtype, shape and order alone: an array that did not change has the same pieces in every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, prod

import msgspec

from ...dtypes import safetensors_name
from ...records import Leaf

PIECE_BYTES = 4 << 20
LARGE_PIECE_BYTES = 16 << 20
LARGE_ARRAY_BYTES = 8 << 30
MAX_PIECE_BYTES = 64 << 20
PAGE_BYTES = 4096


# There is one of each of these for every piece. As structs they are made in a third of the time that dataclasses
# take, and the garbage collector need not look at them: neither can be part of a cycle.
class Piece(msgspec.Struct, frozen=True, gc=False):
    """Where the bytes of one piece are: `key` in the pack `file`, and what they must be."""

    file: str
    key: str
    blake3: str
    xxh3: str
    born: int  # the `seq` of the checkpoint that first held these bytes at this place


class Cut(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One piece of a leaf, before it is known where its bytes will be."""

    leaf: Leaf
    start: int  # in bytes of the leaf
    size: int  # in bytes
    key: str
    dtype: str  # as safetensors names it
    shape: tuple[int, ...]


def sizes(leaf: Leaf) -> list[int]:
    """The sizes of its pieces in bytes; at once for a leaf of one piece, as most are."""
    size = leaf.size_bytes
    return [size] if 0 < size <= PIECE_BYTES else [cut.size for cut in cuts(leaf)]


def cuts(leaf: Leaf) -> Iterator[Cut]:
    """The pieces of a leaf in the order of its bytes; none for an empty array."""
    size = leaf.size_bytes
    if not size:
        return
    name = safetensors_name(leaf.dtype)
    path = leaf.path or "%"  # the state is a single array
    in_memory = leaf.shape if leaf.order == "C" else leaf.shape[::-1]
    if size <= PIECE_BYTES:
        yield Cut(leaf, 0, size, path, name or "U8", in_memory if name else (size,))
        return
    target = LARGE_PIECE_BYTES if size > LARGE_ARRAY_BYTES else PIECE_BYTES
    shape = in_memory
    if size // shape[0] > target:
        shape = (prod(shape),)
    if size // shape[0] > target:
        shape = (size,)  # items longer than a piece: a run of bytes
    rows, row_bytes = shape[0], size // shape[0]
    step = max(1, target // row_bytes)
    pages = PAGE_BYTES // gcd(row_bytes, PAGE_BYTES)  # rows that fill complete pages
    if step > pages:
        step -= step % pages
    for first in range(0, rows, step):
        last = min(first + step, rows)
        run_bytes = (last - first) * row_bytes
        # An element type that safetensors lacks is stored as a run of bytes.
        run = (last - first, *shape[1:]) if name else (run_bytes,)
        yield Cut(leaf, first * row_bytes, run_bytes, f"{path}[{first}:{last}]", name or "U8", run)
