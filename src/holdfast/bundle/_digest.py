"""The digests of a snapshot's pieces, made by threads a bounded distance ahead of the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..records import Snapshot
from ._ahead import in_order
from ._finite import Watched, nonfinite_pieces
from ._format.pieces import Cut
from ._sharing import Digested

_THREADS = max(2, min(8, os.cpu_count() or 1))
_SMALL_BYTES = 64 << 10  # below this, threads cost more than they save
_BATCH_BYTES = 1 << 20  # what a thread digests at a time, at least
_AHEAD = 4 * _THREADS  # batches digested before the disk needs them
_FEW = 1  # the same, where their bytes are made for it


Ready: TypeAlias = tuple[Digested, memoryview]
"""A piece with its digests, and its bytes."""


def digest(snapshot: Snapshot, pieces: Sequence[Cut], is_watched: Watched) -> Generator[Ready, None, None]:
    """Each piece with its digests and bytes, in order."""
    threads, most = (_THREADS, _AHEAD) if snapshot.in_place else (1, _FEW)
    with ThreadPoolExecutor(threads) as pool:
        begun = (_begin(pool, snapshot, batch, is_watched) for batch in _batches(pieces))
        try:
            for batch in in_order(begun, most):
                yield from batch
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(
    pool: ThreadPoolExecutor, snapshot: Snapshot, batch: Sequence[Cut], is_watched: Watched
) -> Callable[[], list[Ready]]:
    work = partial(_digest_batch, snapshot, batch, is_watched)
    # The interpreter lock is held for small pieces: threads would only contend for it.
    if batch[0].size >= _SMALL_BYTES:
        with suppress(
            RuntimeError
        ):  # a background save while the interpreter ends, or there are no more threads
            return pool.submit(work).result
    return work


def _batches(pieces: Sequence[Cut]) -> Iterator[list[Cut]]:
    batch: list[Cut] = []
    size = 0
    for cut in pieces:
        if batch and (size >= _BATCH_BYTES or (cut.size < _SMALL_BYTES) != (batch[-1].size < _SMALL_BYTES)):
            yield batch
            batch, size = [], 0
        batch.append(cut)
        size += cut.size
    if batch:
        yield batch


def _digest_batch(snapshot: Snapshot, batch: Sequence[Cut], is_watched: Watched) -> list[Ready]:
    pieces = [(cut, piece_bytes(snapshot, cut)) for cut in batch]
    nonfinite = nonfinite_pieces(pieces, is_watched)
    return [
        (Digested(cut, blake3(data).hexdigest(), xxh3_128_hexdigest(data), nonfinite.get(cut)), data)
        for cut, data in pieces
    ]


def piece_bytes(snapshot: Snapshot, cut: Cut) -> memoryview:
    """The bytes of a piece, as they are in the snapshot now."""
    return snapshot.piece(cut.leaf, cut.start, cut.size).data
