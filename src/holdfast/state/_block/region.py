"""Some arrays side by side in one piece of memory: where each one's bytes are, and what copies them there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Final

import numpy as np

from ...records import PAGE_BYTES, Bytes, Leaf, Rank, packed_rank
from .._live import Device, FixedArray, Live
from .copying import Copies, copies

_PAGED: Final[Rank] = packed_rank("uint8", PAGE_BYTES)
_LARGE_BYTES: Final = 4 << 20  # begins at a page in any case: most of it is written in complete ones
_MOST_KEPT: Final = 2  # one snapshot is copied while the one before is written


class Region:
    """Arrays of one rank, in the order of the walk, without holes. Of those that nobody ever writes it has the memory itself.

    Attributes:
        rank: by which regions follow each other.
        size_bytes: of the memory it takes.
        starts: where in it the bytes of each leaf are, by path.
        fixed: the bytes of arrays that are never written.
    """

    def __init__(self, arrays: Sequence[tuple[Leaf, Live]], rank: Rank) -> None:
        self.rank = rank
        views = ((leaf, live.view()) for leaf, live in arrays if isinstance(live, FixedArray))
        self.fixed: Mapping[str, Bytes] = {leaf.path: view for leaf, view in views if view is not None}
        self._arrays = [each for each in arrays if each[0].path not in self.fixed] if self.fixed else arrays
        step = PAGE_BYTES if rank == _PAGED else 1
        ends = [*accumulate((-(-leaf.size_bytes // step) * step for leaf, _ in self._arrays), initial=0)]
        self.size_bytes = ends.pop()
        self.starts = {leaf.path: start for (leaf, _), start in zip(self._arrays, ends, strict=True)}
        self.of_arrays_bytes = sum(leaf.size_bytes for leaf, _ in arrays)
        self._kept: list[tuple[int, Copies]] = []

    @cached_property
    def device(self) -> Device | None:
        """One of those that its arrays are on."""
        return next((device for _, live in self._arrays if (device := live.device()) is not None), None)

    def copies(
        self, memory: Bytes, only: Collection[str] | None = None, *, is_for_again: bool = False
    ) -> Copies:
        """What copies all arrays, or those at these paths, into `memory`, `(size_bytes,)`.

        `is_for_again`: the same memory will come again; then what was made for it is kept.
        """
        if not is_for_again or only is not None:
            return self._copies(memory, only)
        address = memory.__array_interface__["data"][0]
        found = next((each for at, each in self._kept if at == address), None)
        if found is None:
            found = self._copies(memory, None)
            self._kept = [*self._kept[1 - _MOST_KEPT :], (address, found)]
        return found

    def _copies(self, memory: Bytes, only: Collection[str] | None) -> Copies:
        return copies(
            memory,
            (
                (self.starts[leaf.path], leaf.size_bytes, live)
                for leaf, live in self._arrays
                if only is None or leaf.path in only
            ),
        )


def regions_of(arrays: Sequence[tuple[Leaf, Live]]) -> list[Region]:
    """The arrays of each rank."""
    ranked: dict[Rank, list[tuple[Leaf, Live]]] = {}
    for each in arrays:
        leaf = each[0]
        is_large = leaf.size_bytes >= _LARGE_BYTES
        rank = _PAGED if is_large else packed_rank(leaf.dtype, leaf.size_bytes)
        ranked.setdefault(rank, []).append(each)
    return [Region(those, rank) for rank, those in ranked.items()]


def block_of(regions: Sequence[Region]) -> tuple[int, list[int]]:
    """How much memory the regions take one after the other, and where each one begins; they come in the order of their ranks."""
    ends = [*accumulate((region.size_bytes for region in regions), initial=0)]
    return ends.pop(), ends


NOTHING: Final = np.empty(0, np.uint8)
