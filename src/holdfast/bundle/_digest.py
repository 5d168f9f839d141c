"""The digests of a snapshot's pieces, made by threads a bounded distance ahead of the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import msgspec
from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..records import Snapshot
from ._ahead import in_order
from ._finite import Group, Watched, nonfinite_pieces
from ._format.pieces import Cut
from ._layout import Batch, Layout
from ._sharing import Digested

_THREADS = max(2, min(8, os.cpu_count() or 1))
_AHEAD = 4 * _THREADS  # batches digested before the disk needs them
_FEW = 1  # the same, where their bytes are made for it


Ready: TypeAlias = tuple[Digested, memoryview]
"""A piece with its digests, and its bytes."""


def digest(snapshot: Snapshot, layout: Layout, is_watched: Watched) -> Generator[list[Ready], None, None]:
    """Each piece with its digests and bytes, in order, batch by batch."""
    threads, most = (_THREADS, _AHEAD) if snapshot.in_place else (1, _FEW)
    batches = zip(layout.batches, layout.watched(is_watched), strict=True)
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from in_order((_begin(pool, snapshot, *each) for each in batches), most)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor, snapshot: Snapshot, batch: Batch, watched: Sequence[Group]
) -> Callable[[], list[Ready]]:
    work = partial(_digest_batch, snapshot, batch.cuts, watched)
    # The interpreter lock is held for small pieces: threads would only contend for it.
    if not batch.is_small:
        with suppress(
            RuntimeError
        ):  # a background save while the interpreter ends, or there are no more threads
            return pool.submit(work).result
    return work


def _digest_batch(snapshot: Snapshot, cuts: Sequence[Cut], watched: Sequence[Group]) -> list[Ready]:
    data = snapshot.pieces(cuts)
    strong = [blake3(each).hexdigest() for each in data]
    pieces = [*map(Digested, cuts, strong, map(xxh3_128_hexdigest, data))]
    for index, counts in nonfinite_pieces(data, watched).items():
        pieces[index] = msgspec.structs.replace(pieces[index], nonfinite=counts)
    return [*zip(pieces, data, strict=True)]
