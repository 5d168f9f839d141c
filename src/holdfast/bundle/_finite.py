"""NaNs and infinities in what is being saved, found while its bytes are in the cache to be digested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from ..numerics import all_finite, count_nonfinite, is_floating
from ._format.pieces import Cut

Watched: TypeAlias = Callable[[str], bool]
"""Whether the leaf at this path should be finite."""


MAX_NAMED = 100  # a record stays small however many there are


def watch_none(path: str) -> bool:
    """No leaf is watched."""
    return False


def nonfinite_pieces(
    pieces: Sequence[tuple[Cut, memoryview]], is_watched: Watched
) -> dict[Cut, tuple[int, int]]:
    """The NaNs and infinities of those of the watched pieces that have any.

    Small pieces of one element type are checked together: one by one, the calls would cost more than the check.
    """
    by_type: dict[str, list[tuple[Cut, memoryview]]] = {}
    for cut, data in pieces:
        if is_floating(cut.leaf.dtype) and is_watched(cut.leaf.path):
            by_type.setdefault(cut.leaf.dtype, []).append((cut, data))
    found: dict[Cut, tuple[int, int]] = {}
    for dtype, those in by_type.items():
        raw = those[0][1] if len(those) == 1 else b"".join(data for _, data in those)
        if not all_finite(np.frombuffer(raw, np.uint8), dtype):
            counts = ((cut, count_nonfinite(np.frombuffer(data, np.uint8), dtype)) for cut, data in those)
            found |= {cut: nonfinite for cut, nonfinite in counts if any(nonfinite)}
    return found


def nonfinite_details(nonfinite: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What a record's details say of arrays that are not finite; nothing if there are none."""
    if not nonfinite:
        return {}
    named = {path: [*counts] for path, counts in islice(sorted(nonfinite.items()), MAX_NAMED)}
    return {"health": {"sick": len(nonfinite), "leaves": named}}
