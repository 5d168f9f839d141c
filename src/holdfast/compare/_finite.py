"""Is there a NaN or an infinity in a state? Streamed; no piece is read twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..bundle import Bundle
from ..numerics import widen
from ..records import Leaf
from ._reader import ItemReader
from ._scope import floating

_BLOCK_ITEMS = 1 << 16


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
        return next(
            filter(None, (self._look(source, leaf) for leaf in floating(source.tree, self._only))), None
        )

    def _look(self, source: Bundle, leaf: Leaf) -> NonFinite | None:
        reader = ItemReader(source, leaf)
        while reader.left:
            piece = leaf.dtype, reader.untouched_piece or ""
            if piece in self._finite:
                reader.skip(reader.left)
            while reader.left:
                values = widen(reader.take(min(reader.left, _BLOCK_ITEMS)), leaf.dtype)
                if not np.isfinite(values).all():
                    nans = np.count_nonzero(np.isnan(values))
                    return NonFinite(leaf.path, int(nans), int(np.count_nonzero(np.isinf(values))))
            self._finite.add(piece)
            reader.advance()
        return None
