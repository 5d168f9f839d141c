"""NaNs and infinities in what is being saved, found while its bytes are in the cache to be digested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from ..numerics import all_finite, count_nonfinite, is_floating
from ..records import Extent
from ._format.pieces import Cut

Watched: TypeAlias = Callable[[str], bool]
"""Whether the leaf at this path should be finite."""

Group: TypeAlias = tuple[str, list[int]]
"""An element type, and which pieces of a batch are checked together for it."""


_ALONE_BYTES = 128 << 10  # larger pieces are not copied to be checked with others
MAX_NAMED = 100  # a record stays small however many there are


def watch_none(path: str) -> bool:
    """No leaf is watched."""
    return False


def groups(cuts: Sequence[Cut], is_watched: Watched) -> list[Group]:
    """Those of the pieces that are watched, as they are checked together.

    Small pieces of one element type are: one by one, the calls would cost more than the check.
    """
    found: list[Group] = []
    small: dict[str, list[int]] = {}
    for index, cut in enumerate(cuts):
        dtype = cut.leaf.dtype
        if is_floating(dtype) and is_watched(cut.leaf.path):
            if cut.size >= _ALONE_BYTES:
                found.append((dtype, [index]))
            else:
                small.setdefault(dtype, []).append(index)
    return [*found, *small.items()]


def nonfinite_pieces(
    data: Sequence[memoryview], extent: Extent | None, watched: Sequence[Group]
) -> dict[int, tuple[int, int]]:
    """The NaNs and infinities of those of the watched pieces that have any, by their index in `data`; `extent`: of all these."""
    found: dict[int, tuple[int, int]] = {}
    for dtype, those in watched:
        if extent is not None and len(those) == len(data):
            raw = extent.data
        else:
            raw = data[those[0]] if len(those) == 1 else b"".join([data[index] for index in those])
        if not all_finite(np.frombuffer(raw, np.uint8), dtype):
            counts = (
                (index, count_nonfinite(np.frombuffer(data[index], np.uint8), dtype)) for index in those
            )
            found |= {index: nonfinite for index, nonfinite in counts if any(nonfinite)}
    return found


def nonfinite_details(nonfinite: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What a record's details say of arrays that are not finite; nothing if there are none."""
    if not nonfinite:
        return {}
    named = {path: [*counts] for path, counts in islice(sorted(nonfinite.items()), MAX_NAMED)}
    return {"health": {"sick": len(nonfinite), "leaves": named}}
