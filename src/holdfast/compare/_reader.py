"""An array of a bundle read from its beginning to its end, with no more than one piece of it in memory."""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..dtypes import item_size
from ..records import Bytes, Leaf

BLOCK_ITEMS = 1 << 16  # small enough that all temporaries of a block stay in the processor's cache


class ItemReader:
    """Hands out the items of `leaf` as raw bytes, in memory order, checked.

    Attributes:
        left: items of the current piece that have not been taken; 0 only at the end of the array.
    """

    def __init__(self, source: Bundle, leaf: Leaf) -> None:
        self._source, self._leaf = source, leaf
        self._item = item_size(leaf.dtype)
        self._pieces = source.pieces(leaf)
        self._index = -1
        self._buffer = bytearray(max((piece.size for piece in self._pieces), default=0))
        self.left = 0
        self._next_piece()

    @property
    def untouched_piece(self) -> str | None:
        """The digest of the current piece if nothing of it has been taken yet."""
        if self._index >= len(self._pieces):
            return None
        piece = self._pieces[self._index]
        return piece.digest if self.left * self._item == piece.size else None

    def take(self, items: int) -> Bytes:
        """The next `items` (at most `left`), `(items * size of one,)`; valid until the reader moves to the next piece."""
        piece = self._pieces[self._index]
        if not self._is_read:
            self._source.read_piece(self._leaf, piece, memoryview(self._buffer)[: piece.size])
            self._is_read = True
        start = piece.size - self.left * self._item
        self.left -= items
        return np.frombuffer(self._buffer, np.uint8, items * self._item, start)

    def skip(self, items: int) -> None:
        """Skip `items` (at most `left`); a piece of which nothing was taken is never read."""
        self.left -= items

    def advance(self) -> None:
        """Go to the next piece if this one is finished; what was taken of it must not be used any more."""
        if not self.left:
            self._next_piece()

    def _next_piece(self) -> None:
        self._index += 1
        self._is_read = False
        if self._index < len(self._pieces):
            self.left = self._pieces[self._index].size // self._item
