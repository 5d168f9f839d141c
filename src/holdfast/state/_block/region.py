"""Some arrays side by side in one piece of memory: where each one's bytes are, and what copies them there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np

from ...records import Bytes, Leaf
from .._live import Device, FixedArray, Live
from .buffers import PAGE_BYTES
from .copying import Copies, copies

_SMALL_ALIGNMENT: Final = 64  # a cache line; large arrays begin at a page, as direct disk access wants it
_MOST_KEPT: Final = 2  # one snapshot is copied while the one before is written


class Region:
    """Arrays in the order of the walk. Of those that nobody ever writes it has the memory itself.

    Attributes:
        size_bytes: of the memory it takes.
        starts: where in it the bytes of each leaf are, by path.
        fixed: the bytes of arrays that are never written.
    """

    def __init__(self, arrays: Sequence[tuple[Leaf, Live]]) -> None:
        views = ((leaf, live.view()) for leaf, live in arrays if isinstance(live, FixedArray))
        self.fixed: Mapping[str, Bytes] = {leaf.path: view for leaf, view in views if view is not None}
        self._arrays = [each for each in arrays if each[0].path not in self.fixed] if self.fixed else arrays
        self.size_bytes, self.starts = _lay_out([leaf for leaf, _ in self._arrays])
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


def _lay_out(leaves: Sequence[Leaf]) -> tuple[int, dict[str, int]]:
    """How much memory they take, and where in it each one begins, by path."""
    starts: dict[str, int] = {}
    end = 0
    for leaf in leaves:
        size = leaf.size_bytes
        alignment = PAGE_BYTES if size >= PAGE_BYTES else _SMALL_ALIGNMENT
        starts[leaf.path] = end = -(-end // alignment) * alignment
        end += size
    return end, starts


def block_of(regions: Sequence[Region]) -> tuple[int, list[int]]:
    """How much memory the regions take, each from a page on, and where each one begins."""
    starts, end = [], 0
    for region in regions:
        starts.append(end)
        end += -(-region.size_bytes // PAGE_BYTES) * PAGE_BYTES
    return end, starts


NOTHING: Final = np.empty(0, np.uint8)
