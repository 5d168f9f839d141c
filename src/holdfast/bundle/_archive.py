"""A complete copy of a bundle, to keep or to send: it shares nothing, and its arrays may be compressed.

Plain arrays go into one pack, compressed ones into another. Digests are of the bytes as they were saved, so
the copy is verified like its original. A few pieces at a time are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from blake3 import blake3

from ..errors import UsageError
from ..records import CheckpointRecord, FileEntry, Leaf
from ..storage import Directory, Storage
from ._ahead import in_order
from ._commit import commit
from ._format.codec import PLANES_ZSTD, compress, max_stored_bytes, num_planes
from ._format.names import pack_file, tree_file
from ._format.pack import PackWriter, header_size, in_pack_order
from ._format.pieces import Cut, Piece, cuts
from ._format.tree import StoredTree
from ._format.tree_text import encode_tree
from ._read import Bundle, StoredPiece
from ._write import write_file

_THREADS = 2
_AHEAD = 4  # pieces in memory
_MIN_BYTES = 4096  # smaller arrays gain nothing worth having
_WORTHWHILE = 0.97  # of its size; what shrinks less stays as it is, and can be mapped


def archive(
    opened: Bundle, disk: Storage, directory: str, name: str, *, compressed: bool, overwrite: bool = False
) -> CheckpointRecord:
    """Commit a copy of `opened` as `directory/name.ckpt.mml`, with `compressed` arrays where that gains 3 %.

    The copy's record equals the original's except for id, name, parent (the original) and sizes.

    Raises: as `commit`; PieceDamagedError if the original is not what was saved; UsageError without zstandard.
    """
    if compressed:
        compress(np.zeros(1, np.uint8), "uint8")  # fail now if the package is missing
    return commit(disk, directory, name, _Copying(opened, name, compressed), overwrite=overwrite)


@dataclass(frozen=True, slots=True)
class _Copying:
    """The `Fill` of an archive."""

    opened: Bundle
    name: str
    compressed: bool

    def __call__(self, directory: Directory, id: str, *, rename_links: bool) -> CheckpointRecord:
        opened, record = self.opened, self.opened.record
        state = opened.stored.leaves
        shrunk = {leaf.path for leaf in state if self.compressed and _shrinks(opened, leaf)}
        placed: dict[str, list[Piece]] = {leaf.path: [] for leaf in state}
        packs = []
        for is_compressed in (False, True):
            group = [leaf for leaf in state if (leaf.path in shrunk) == is_compressed]
            if any(leaf.size_bytes for leaf in group):
                pack = _Pack(opened, directory, pack_file(id, int(is_compressed)), is_compressed)
                packs.append(pack.write(group, placed))
        links = {pack.name: 0 for pack in packs}
        stored = StoredTree(opened.tree, state, placed, links, dict.fromkeys(sorted(shrunk), PLANES_ZSTD))
        try:
            data = encode_tree(stored)
        except ValueError as err:
            raise UsageError(f"checkpoint {self.name!r} cannot be copied: {err}") from err
        write_file(directory, tree_file(id), data, durable=True)
        return replace(
            record,
            id=id,
            name=self.name,
            parent=record.id,
            durability="full",
            tree=FileEntry(tree_file(id), len(data), blake3(data).hexdigest()),
            packs=tuple(packs),
            parts=(),
            bytes_written=len(data) + sum(pack.size for pack in packs),
            bytes_shared=0,
        )


@dataclass(frozen=True, slots=True)
class _Pack:
    opened: Bundle
    directory: Directory
    name: str
    is_compressed: bool

    def write(self, group: Sequence[Leaf], placed: dict[str, list[Piece]]) -> FileEntry:
        """Write the pack of these leaves, each distinct piece once, and enter in `placed` where pieces are."""
        known: dict[tuple[str, int], Piece] = {}
        new: list[tuple[Cut, StoredPiece]] = []
        for leaf in group:
            for cut, piece in zip(cuts(leaf), self.opened.pieces(leaf), strict=True):
                # One frame serves two arrays only if their bytes are taken apart alike.
                same = (piece.digest, num_planes(leaf.dtype) if self.is_compressed else 1)
                if same not in known:
                    known[same] = msgspec.structs.replace(piece.place, file=self.name, key=cut.key)
                    new.append((cut, piece))
                placed[leaf.path].append(known[same])
        pieces = dict(new)
        order = [*pieces] if self.is_compressed else in_pack_order(pieces)
        room = [_frame(cut, max_stored_bytes(cut.size)) for cut in order] if self.is_compressed else order
        file = self.directory.create(self.name, expected_size=sum(cut.size for cut in room))
        try:
            pack = PackWriter(file, header_size(room))
            for cut, data in self._read(order, pieces):
                pack.add(_frame(cut, len(data)) if self.is_compressed else cut, data)
            header, size = pack.finish()
            file.sync()
        finally:
            file.close()
        return FileEntry(self.name, size, blake3(header).hexdigest())

    def _read(self, order: Sequence[Cut], pieces: dict[Cut, StoredPiece]) -> Iterator[tuple[Cut, memoryview]]:
        """What is to be written, in order; threads read and compress a few pieces ahead."""

        def prepare(cut: Cut) -> tuple[Cut, memoryview]:
            data = self.opened.piece_bytes(cut.leaf, pieces[cut])
            return cut, memoryview(compress(data, cut.leaf.dtype)) if self.is_compressed else data.data

        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                yield from in_order((pool.submit(prepare, cut).result for cut in order), _AHEAD)
            finally:
                pool.shutdown(cancel_futures=True)


def _shrinks(opened: Bundle, leaf: Leaf) -> bool:
    """Whether the first piece does: the others will be like it."""
    if leaf.size_bytes < _MIN_BYTES:
        return False
    data = opened.piece_bytes(leaf, opened.pieces(leaf)[0])
    return len(compress(data, leaf.dtype)) <= _WORTHWHILE * data.nbytes


def _frame(cut: Cut, size: int) -> Cut:
    return msgspec.structs.replace(cut, size=size, dtype="U8", shape=(size,))
