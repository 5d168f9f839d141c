"""A part of a checkpoint in memory, after the checkpoint was closed: a `records.Source`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .. import dtypes
from ..errors import CheckpointDamagedError
from ..records import Bytes, Leaf, Node, Source, leaves


class Kept:
    """`nodes` of `source`, with all their bytes, which are checked as they are read.

    Raises:
        DamagedError: bytes are not what was saved.
    """

    def __init__(self, source: Source, tree: Node) -> None:
        self.tree: Node = tree
        self._bytes: dict[str, Bytes] = {}
        for leaf in leaves(tree):
            self._bytes[leaf.path] = np.empty(leaf.size_bytes, np.uint8)
        source.read_all([(leaf, self._bytes[leaf.path]) for leaf in leaves(tree) if leaf.size_bytes])

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        out[:] = self._of(leaf)

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> None:
        for leaf, out in wanted:
            self.read_into(leaf, out)

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        data, step = (
            self._of(leaf),
            max(1, (4 << 20) // dtypes.item_size(leaf.dtype)) * dtypes.item_size(leaf.dtype),
        )
        for start in range(0, leaf.size_bytes, step):
            yield start, data[start : start + step].copy()

    def check(self, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            self._of(leaf)

    def _of(self, leaf: Leaf) -> Bytes:
        data = self._bytes.get(leaf.path)
        if data is None or data.nbytes != leaf.size_bytes:
            raise CheckpointDamagedError(
                "the variables of the script", f"there is no {leaf.path!r} of this size"
            )
        return data
