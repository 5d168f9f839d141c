"""What a save owes to the structure of its state alone, kept from one save to the next.

The second save of a structure finds its arrays already cut, their pieces in the order of a pack, and the text of its
tree written but for the digests. Whatever is not the same is worked out anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import NamedTuple, TypeVar

from ..records import Leaf, Node
from ._finite import Group, Watched, groups
from ._format.pack import encode_header, header_size, in_pack_order
from ._format.pieces import Cut, cuts
from ._format.tree_text import TreeText

_SMALL_BYTES = 64 << 10  # below this, threads cost more than they save
_BATCH_BYTES = 1 << 20  # what a thread digests at a time, at least

Value = TypeVar("Value")


class Batch(NamedTuple):
    """Pieces that are digested together: all of them small, or none."""

    cuts: list[Cut]
    is_small: bool


class Outline:
    """The text of a tree, and the layout of its arrays. `before`: of the save before."""

    def __init__(self, tree: Node, before: Outline | None = None) -> None:
        self.text = TreeText(tree, before=before and before.text)
        leaves = self.text.leaves
        is_same = before is not None and before.layout.leaves == leaves
        self.layout = before.layout if before is not None and is_same else Layout(leaves)


class Layout:
    """The pieces of arrays, in pack order.

    Attributes:
        order: the pieces.
        batches: the same, as they are digested.
        size_bytes: of all arrays.
        header_size: of a pack that has all of them.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = leaves
        by_leaf = [[*cuts(leaf)] for leaf in leaves]
        self.order = in_pack_order(chain.from_iterable(by_leaf))
        self.batches = [*_batches(self.order)]
        self.size_bytes = sum(leaf.size_bytes for leaf in leaves)
        self.header_size = header_size(self.order)
        places = {cut: place for place, cut in enumerate(self.order)}
        self._places = [places[cut] for those in by_leaf for cut in those]
        self._runs = [*pairwise(accumulate(map(len, by_leaf), initial=0))]
        self._watched: tuple[Watched, list[list[Group]]] | None = None
        self._header: tuple[list[Cut], bytes] = [], b""

    def by_path(self, values: Sequence[Value]) -> dict[str, list[Value]]:
        """The values of the pieces, which are in pack order, for each leaf's path in the order of its bytes."""
        found = [values[place] for place in self._places]
        return {
            leaf.path: found[first:end] for leaf, (first, end) in zip(self.leaves, self._runs, strict=True)
        }

    def watched(self, is_watched: Watched) -> list[list[Group]]:
        """For each batch, which of its pieces should be finite."""
        if self._watched is None or self._watched[0] != is_watched:
            self._watched = is_watched, [groups(batch.cuts, is_watched) for batch in self.batches]
        return self._watched[1]

    def header(self, pieces: list[Cut], size: int) -> bytes:
        """As `encode_header`; most saves write the same pieces as the save before."""
        if self._header[0] != pieces or len(self._header[1]) != size:
            self._header = pieces, encode_header(pieces, size)
        return self._header[1]


def _batches(pieces: Sequence[Cut]) -> Iterator[Batch]:
    batch, size = Batch([], False), 0
    for cut in pieces:
        is_small = cut.size < _SMALL_BYTES
        if not batch.cuts or size >= _BATCH_BYTES or is_small != batch.is_small:
            if batch.cuts:
                yield batch
            batch, size = Batch([], is_small), 0
        batch.cuts.append(cut)
        size += cut.size
    if batch.cuts:
        yield batch
