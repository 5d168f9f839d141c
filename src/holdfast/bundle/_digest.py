"""The digests of a snapshot's pieces, made by threads a bounded distance ahead of the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import msgspec
from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..records import Extent, Snapshot
from ._ahead import in_order
from ._finite import Group, Watched, nonfinite_pieces
from ._format.pieces import Cut
from ._layout import Batch, Layout
from ._sharing import Digested

_THREADS = max(2, min(8, os.cpu_count() or 1))
_AHEAD = 4 * _THREADS  # batches digested before the disk needs them
_FEW = 1  # the same, where their bytes are made for it


class Ready(NamedTuple):
    """Pieces with their digests and bytes, and where all of them are, if they lie side by side."""

    pieces: Sequence[Digested]
    data: Sequence[memoryview]
    extent: Extent | None = None

    def only(self, those: Sequence[int]) -> Ready:
        """Those of the pieces that have these indices."""
        return Ready([self.pieces[index] for index in those], [self.data[index] for index in those])


def digest(snapshot: Snapshot, layout: Layout, is_watched: Watched) -> Generator[Ready, None, None]:
    """The pieces in order, batch by batch."""
    threads, most = (_THREADS, _AHEAD) if snapshot.in_place else (1, _FEW)
    batches = zip(layout.batches, layout.watched(is_watched), strict=True)
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from in_order((_begin(pool, snapshot, *each) for each in batches), most)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor, snapshot: Snapshot, batch: Batch, watched: Sequence[Group]
) -> Callable[[], Ready]:
    work = partial(_digest_batch, snapshot, batch.cuts, watched)
    # The interpreter lock is held for small pieces: threads would only contend for it.
    if not batch.is_small:
        with suppress(
            RuntimeError
        ):  # a background save while the interpreter ends, or there are no more threads
            return pool.submit(work).result
    return work


def _digest_batch(snapshot: Snapshot, cuts: Sequence[Cut], watched: Sequence[Group]) -> Ready:
    data, extent = snapshot.pieces(cuts), snapshot.extent(cuts)
    strong = [blake3(each).hexdigest() for each in data]
    pieces = [*map(Digested, cuts, strong, map(xxh3_128_hexdigest, data))]
    for index, counts in nonfinite_pieces(data, extent, watched).items():
        pieces[index] = msgspec.structs.replace(pieces[index], nonfinite=counts)
    return Ready(pieces, data, extent)
