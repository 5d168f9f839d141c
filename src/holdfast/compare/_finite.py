"""Is there a NaN or an infinity in a state? Streamed; no piece is read twice."""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle import Bundle
from ..numerics import all_finite, count_nonfinite
from ..records import Leaf
from ._reader import BLOCK_ITEMS, ItemReader
from ._scope import floating


@dataclass(frozen=True, slots=True)
class NonFinite:
    """An array that is not finite: how many NaNs and infinities its first block with any has."""

    path: str
    nans: int
    infs: int


class FiniteCheck:
    """Looks for NaNs and infinities in checkpoints, one after another; pieces that they share are read once.

    `only`: a pattern of paths; by default the model graph, or every array of a state without one.
    """

    def __init__(self, only: str | None = None) -> None:
        self._only = only
        self._finite: set[tuple[str, str]] = set()  # dtypes and digests of pieces

    def first_nonfinite(self, source: Bundle) -> NonFinite | None:
        """The first floating array that is not finite; later ones are not read.

        Raises:
            PieceDamagedError: bytes are not what was saved.
        """
        found = (self._look(source, leaf) for leaf in floating(source.tree, self._only))
        return next(filter(None, found), None)

    def _look(self, source: Bundle, leaf: Leaf) -> NonFinite | None:
        reader = ItemReader(source, leaf)
        while reader.left:
            piece = leaf.dtype, reader.untouched_piece or ""
            if piece in self._finite:
                reader.skip(reader.left)
            while reader.left:
                block = reader.take(min(reader.left, BLOCK_ITEMS))
                if not all_finite(block, leaf.dtype):
                    return NonFinite(leaf.path, *count_nonfinite(block, leaf.dtype))
            self._finite.add(piece)
            reader.advance()
        return None
