"""NaN and infinity in what is being saved, found while its bytes are in the processor's cache for their digests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from ..numerics import all_finite, count_sick, is_floating
from ._format.pieces import Cut

Watched: TypeAlias = Callable[[str], bool]
"""Whether the leaf at this path should be finite."""


MAX_NAMED = 100  # a record stays small whatever has happened


def watch_none(path: str) -> bool:
    """No leaf: nothing is looked at."""
    return False


def sick_pieces(pieces: Sequence[tuple[Cut, memoryview]], is_watched: Watched) -> dict[Cut, tuple[int, int]]:
    """The NaNs and infinities of those of the watched pieces that have any.

    Small pieces of one element type are looked at together: one by one, the calls would cost more than the look.
    """
    by_type: dict[str, list[tuple[Cut, memoryview]]] = {}
    for cut, data in pieces:
        if is_floating(cut.leaf.dtype) and is_watched(cut.leaf.path):
            by_type.setdefault(cut.leaf.dtype, []).append((cut, data))
    found: dict[Cut, tuple[int, int]] = {}
    for dtype, those in by_type.items():
        raw = those[0][1] if len(those) == 1 else b"".join(data for _, data in those)
        if not all_finite(np.frombuffer(raw, np.uint8), dtype):
            counts = ((cut, count_sick(np.frombuffer(data, np.uint8), dtype)) for cut, data in those)
            found |= {cut: sick for cut, sick in counts if any(sick)}
    return found


def health(sick: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What a record's details say of arrays that are not finite; nothing if there are none."""
    if not sick:
        return {}
    named = {path: [*counts] for path, counts in islice(sorted(sick.items()), MAX_NAMED)}
    return {"health": {"sick": len(sick), "leaves": named}}
