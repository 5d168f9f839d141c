"""An opened bundle: its record, its tree, and the bytes of its leaves, none handed out unchecked.

Opening reads the record and opens every file that it names, so the checkpoint stays readable as it is
when its name goes or is overwritten; two versions are never mixed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from itertools import accumulate, cycle, pairwise
from threading import local
from typing import NamedTuple, TypeVar

import numpy as np
from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from .. import collector
from ..dtypes import turned
from ..errors import (
    CheckpointDamagedError,
    PieceDamagedError,
)
from ..records import Bytes, FileEntry, Leaf, Node
from ..storage import Storage
from ._ahead import in_order
from ._format.codec import max_stored_bytes
from ._format.head import decode_head
from ._format.pieces import LARGE_PIECE_BYTES, PIECE_BYTES, Piece, cuts, sizes
from ._format.tree import MAX_TREE_BYTES, StoredTree, decode_tree
from ._open import open_files, read_bounded
from ._packs import Packs, Run, Same, Target
from ._sharded.regions import Boxes, Scattered, regions_of_run

Item = TypeVar("Item")

_THREADS = 4
_THREADED_BYTES = 4 << 20  # below this, threads cost more than they save
_BATCH_BYTES = 1 << 20  # what a thread reads at a time, at least
_SCRATCH_BYTES = 32 << 20  # for all pieces that are read ahead for one consumer
_CHECKED_BYTES = 512 << 10  # a part of a piece that stays in the cache while it is read and digested


class StoredPiece(NamedTuple):
    """One piece of a leaf: bytes `start` to `start + size`, and where they are stored."""

    start: int
    size: int
    place: Piece

    @property
    def digest(self) -> str:
        """BLAKE3: if it is equal, so are the bytes."""
        return self.place.blake3


class Bundle:
    """A checkpoint on disk, opened. A `records.Source`; thread-safe for reading.

    Raises (on construction):
        CheckpointNotFoundError: there is no bundle.
        CheckpointReplacedError: the name holds another checkpoint than `expected_id`.
        CheckpointDamagedError: a file is missing or has the wrong size; the checkpoint is not complete.
        CheckpointUnreadableError: the system refuses to open it. So may all that reads from it.
        FormatVersionError: it was written in a newer format.
    """

    def __init__(self, disk: Storage, path: str, *, expected_id: str | None = None) -> None:
        self.path = path
        self.record, self._files, self._parts = open_files(disk, path, expected_id)
        self._packs = Packs(path, self._files, self.packs)

    @property
    def file_names(self) -> Collection[str]:
        """The names of all its files but the record."""
        return self._files.keys()

    @property
    def packs(self) -> Sequence[FileEntry]:
        """All packs, those of parts included."""
        return (*self.record.packs, *(pack for part in self._parts for pack in part.packs))

    @property
    def tree(self) -> Node:
        """The state, with a `Leaf` for each array, with which its bytes are requested."""
        return self.stored.tree

    @cached_property
    def stored(self) -> StoredTree:
        """The tree with the places of its pieces, checked against the record's digest."""
        entry = self.record.tree
        data = read_bounded(self._packs.file(entry.name), MAX_TREE_BYTES, self.path, "state tree")
        if blake3(data).hexdigest() != entry.digest:
            raise CheckpointDamagedError(
                self.path, f"its state tree {entry.name} has another digest than recorded"
            )
        with collector.paused():
            stored = (
                decode_head(data, self.path, self._parts) if self._parts else decode_tree(data, self.path)
            )
            for leaf in self._not_one_piece(stored):
                self._check_pieces(leaf, stored.pieces[leaf.path], leaf.path in stored.codecs)
        return stored

    def _not_one_piece(self, stored: StoredTree) -> Iterator[Leaf]:
        """All leaves and boxes but those that are one piece of their size, as most are."""
        spans: dict[str, Mapping[str, tuple[int, int]]] = {}
        for leaf in stored.stored(stored.leaves):
            pieces = stored.pieces[leaf.path]
            if len(pieces) == 1 and leaf.size_bytes <= PIECE_BYTES and leaf.path not in stored.codecs:
                piece = pieces[0]
                if (there := spans.get(piece.file)) is None:
                    there = spans[piece.file] = self._packs.spans(piece.file)
                start, end = there.get(piece.key, (0, -1))
                if end - start == leaf.size_bytes:
                    continue
            yield leaf

    def _check_pieces(self, leaf: Leaf, pieces: Sequence[Piece], is_compressed: bool) -> None:
        """The pieces' places must add up to the leaf, before memory is taken for it."""
        plausible = leaf.size_bytes <= len(pieces) * LARGE_PIECE_BYTES  # else counting could take forever
        if not plausible or len(pieces) != len(wanted := sizes(leaf)):
            raise CheckpointDamagedError(
                self.path, f"leaf {leaf.path!r} does not have the pieces of its shape"
            )
        for size, piece in zip(wanted, pieces, strict=True):
            start, end = self._packs.spans(piece.file).get(piece.key, (0, -1))
            is_right = 0 < end - start <= max_stored_bytes(size) if is_compressed else end - start == size
            if not is_right:
                raise CheckpointDamagedError(
                    self.path, f"leaf {leaf.path!r}: no piece {piece.key!r} of its size"
                )

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        """Fill `out` (`(leaf.size_bytes,)` uint8) with the leaf's bytes, checked. A `Box` is a part of the array at its path.

        Raises:
            PieceDamagedError: bytes are not what was saved; `out` may hold some of them.
        """
        pieces = self.stored.pieces.get(leaf.path, ())
        if len(pieces) == 1 and type(leaf) is Leaf:  # as in thousands of small leaves: skip the machinery
            self._packs.read(leaf, pieces[0], out.data, self.stored.codecs.get(leaf.path))
        else:
            self.read_all([(leaf, out)])

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> None:
        """Fill many leaves at once, checked: threads read pieces, whichever leaf they belong to.

        Raises:
            PieceDamagedError: bytes are not what was saved; the buffers may hold some of them.
        """
        scattered: list[Scattered] = []
        if any(self._boxes.concern(leaf) for leaf, _ in wanted):
            targets = self._boxes.targets(wanted, scattered)
        else:
            targets = self._targets(wanted)
        jobs = [self._pool.submit(self._read_batch, batch) for batch in _in_batches(targets)]
        jobs += [self._pool.submit(each.read, self._packs, self.stored.codecs) for each in scattered]
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            wait(jobs)  # or a thread could still write into memory that is about to be reused

    def _targets(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> Iterator[tuple[int, Target]]:
        """All pieces, each with its size."""
        all_pieces = self.stored.pieces
        for leaf, out in wanted:
            pieces, data = all_pieces[leaf.path], out.data
            if len(pieces) == 1:
                yield leaf.size_bytes, (leaf, pieces[0], data)
                continue
            start = 0
            for size, piece in zip(sizes(leaf), pieces, strict=True):
                yield size, (leaf, piece, data[start : start + size])
                start += size

    def _read_batch(self, batch: Sequence[Target]) -> None:
        self._packs.read_all(batch, self.stored.codecs)

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        """The leaf's bytes piece by piece, checked; threads read a few pieces ahead, in kept memory.

        Raises:
            PieceDamagedError: bytes are not what was saved; those before were handed out.
        """
        if self._boxes.concern(leaf):
            for cut in cuts(Leaf(leaf.path, leaf.dtype, leaf.shape, leaf.order, leaf.kind)):
                yield cut.start, self._run_of(leaf, cut.start, cut.size)
            return
        pieces = self.pieces(leaf)
        largest = max((piece.size for piece in pieces), default=0)
        ahead = max(1, min(_THREADS, len(pieces), _SCRATCH_BYTES // max(1, largest)))
        scratch = cycle([np.empty(largest, np.uint8) for _ in range(ahead)])

        def read(piece: StoredPiece, data: Bytes) -> tuple[int, Bytes]:
            self.read_piece(leaf, piece, data.data)
            return piece.start, data

        begun = (self._pool.submit(read, piece, next(scratch)[: piece.size]).result for piece in pieces)
        yield from in_order(begun, ahead)  # the memory of the one in use is the next in turn

    def piece_bytes(self, leaf: Leaf, piece: StoredPiece) -> Bytes:
        """One piece of a leaf, checked, in memory of its own.

        Raises:
            PieceDamagedError: its bytes are not what was saved.
        """
        data = np.empty(piece.size, np.uint8)
        self.read_piece(leaf, piece, data.data)
        return data

    def read_piece(self, leaf: Leaf, piece: StoredPiece, out: memoryview) -> None:
        """As `piece_bytes`, into `out`, which may hold some bytes of a damaged piece."""
        if self._boxes.concern(leaf):
            out[:] = self._run_of(leaf, piece.start, piece.size).data
            return
        self._packs.read(leaf, piece.place, out, self.stored.codecs.get(leaf.path))

    @cached_property
    def _boxes(self) -> Boxes:
        return Boxes(self.stored)

    def _run_of(self, leaf: Leaf, start: int, size: int) -> Bytes:
        """Bytes of such a leaf from `start` on, in its order, checked."""
        data = np.empty(size, np.uint8)
        wanted = list(regions_of_run(leaf, start, size))
        ends = [*accumulate((box.size_bytes for box in wanted), initial=0)]
        self.read_all(
            [(box, data[first:end]) for box, (first, end) in zip(wanted, pairwise(ends), strict=True)]
        )
        return data

    def view(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, checked, as read-only memory that stays valid after the bundle is closed.

        The pack itself is mapped if the leaf's pieces are contiguous in one pack and its items are
        aligned there; else, if it is compressed, and where the disk cannot map, a copy.

        Raises:
            PieceDamagedError: bytes are not what was saved.
        """
        if run := self._run(leaf):
            # Checked by reading, not through the map: a disk that fails is then an error, not a signal.
            self.check([leaf])
            with contextlib.suppress(OSError):
                return np.frombuffer(self._packs.map(run.pack), np.uint8, leaf.size_bytes, run.start)
        data = np.empty(leaf.size_bytes, np.uint8)
        self.read_into(leaf, data)
        data.flags.writeable = False
        return data

    def in_c_order(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, checked, its items in C order whichever order they were saved in."""
        raw = np.empty(leaf.size_bytes, np.uint8)
        self.read_into(leaf, raw)
        return raw if leaf.order == "C" else turned(raw, leaf.dtype, leaf.shape, leaf.order)

    def can_map(self, leaf: Leaf) -> bool:
        """Whether `view` makes no copy of the leaf, if the disk can map at all."""
        return self._run(leaf) is not None

    def _run(self, leaf: Leaf) -> Run | None:
        is_apart = leaf.path in self.stored.codecs or self._boxes.concern(leaf)
        return None if is_apart else self._packs.run(leaf, self.stored.pieces[leaf.path])

    def pieces(self, leaf: Leaf) -> list[StoredPiece]:
        """The leaf's bytes in order, for callers that want one piece in memory at a time.

        Those of an array that is made of boxes are cut as if one process had saved it: they are read for their digests.
        """
        found, start = [], 0
        if self._boxes.concern(leaf):
            for start, data in self.parts(leaf):
                place = Piece(
                    "", "", blake3(data.data).hexdigest(), xxh3_128_hexdigest(data.data), self.record.seq
                )
                found.append(StoredPiece(start, data.nbytes, place))
            return found
        for size, place in zip(sizes(leaf), self.stored.pieces[leaf.path], strict=True):
            found.append(StoredPiece(start, size, place))
            start += size
        return found

    def check(self, wanted: Sequence[Leaf]) -> None:
        """Read and check every byte of these leaves."""
        for problem in self.problems(wanted):
            raise problem

    def problems(
        self, wanted: Sequence[Leaf] | None = None, *, deep: bool = False
    ) -> Iterator[PieceDamagedError]:
        """The damaged pieces of these leaves (default: all). `deep` compares BLAKE3 too, not only XXH3."""
        jobs = self._same_pieces(self.stored.leaves if wanted is None else wanted)
        scratch = local()

        def check(batch: Sequence[tuple[Same, str | None]]) -> list[PieceDamagedError]:
            if not hasattr(scratch, "buffer"):
                scratch.buffer = memoryview(bytearray(_CHECKED_BYTES))
            return self._packs.check_all(batch, scratch.buffer, deep=deep)

        size_bytes = sum(same[0][1] for same, _ in jobs)
        run = self._pool.map if size_bytes >= _THREADED_BYTES else map
        for found in run(check, _in_batches((job[0][0][1], job) for job in jobs)):
            yield from found

    def _same_pieces(self, wanted: Sequence[Leaf]) -> list[tuple[Same, str | None]]:
        """The pieces of these leaves and their codecs; any number of leaves may be made of the same bytes, which are read once."""
        stored = self.stored
        found: dict[tuple[str, str, str | None], list[tuple[Leaf, int, Piece]]] = {}
        for leaf, size, piece in self._placed(wanted):
            codec = stored.codecs.get(leaf.path)
            found.setdefault((piece.file, piece.key, codec), []).append((leaf, size, piece))
        return [(same, codec) for (_, _, codec), same in found.items()]

    def _placed(self, wanted: Sequence[Leaf]) -> Iterator[tuple[Leaf, int, Piece]]:
        """The pieces of these leaves, each with its size; of a box those that have items in it."""
        for leaf in wanted:
            if self._boxes.concern(leaf):
                yield from ((box, size, piece) for box, size, piece, _ in self._boxes.overlapping(leaf))
            else:
                for size, piece in zip(sizes(leaf), self.stored.pieces[leaf.path], strict=True):
                    yield leaf, size, piece

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="holdfast-read")

    def close(self) -> None:
        """Close the files; nothing can be read afterwards."""
        if "_pool" in self.__dict__:
            self._pool.shutdown()
            del self._pool
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def _in_batches(sized: Iterable[tuple[int, Item]]) -> Iterator[list[Item]]:
    """All of them, each given with its size in bytes, in runs large enough for a thread."""
    batch: list[Item] = []
    batch_bytes = 0
    for size, each in sized:
        batch.append(each)
        batch_bytes += size
        if batch_bytes >= _BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch
