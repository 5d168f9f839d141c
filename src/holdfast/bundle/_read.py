"""An opened bundle: its record, its tree, and the bytes of its leaves, none handed out unchecked.

Opening reads the record and opens every file that it names, so the checkpoint stays readable as it is
when its name goes or is overwritten; two versions are never mixed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from threading import local

from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    CheckpointReplacedError,
    HoldfastError,
    PieceDamagedError,
)
from ..records import Bytes, CheckpointRecord, Leaf, Node, leaves
from ..storage import Directory, ReadFile, Storage
from ._names import RECORD
from ._pack import parse_header, read_header
from ._pieces import LARGE_PIECE_BYTES, Cut, Piece, cuts
from ._record import MAX_RECORD_BYTES, decode_record
from ._rot import distrust
from ._tree import MAX_TREE_BYTES, StoredTree, decode_tree

_OPEN_ATTEMPTS = 5
_THREADS = 4
_THREADED_BYTES = 4 << 20  # a leaf of more than one piece


def read_record(directory: Directory, place: str) -> CheckpointRecord:
    """The record of the bundle `place`, which is open as `directory`.

    Raises:
        FileNotFoundError: there is none.
        CheckpointDamagedError, FormatVersionError: it cannot be trusted, or is too new.
    """
    try:
        file = directory.open(RECORD)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise CheckpointDamagedError(place, f"its record cannot be opened ({err.strerror})") from err
    with closing(file):
        return decode_record(bytes(_read_whole(file, MAX_RECORD_BYTES, place, "record")), place)


class Bundle:
    """A checkpoint on disk, opened. A `records.Source`; thread-safe for reading.

    Raises (on construction):
        CheckpointNotFoundError: there is no bundle.
        CheckpointReplacedError: the name holds another checkpoint than `expected_id`.
        CheckpointDamagedError: a file is missing, or has not its size; it is not whole.
        FormatVersionError: it was written in a newer format.
    """

    def __init__(self, disk: Storage, path: str, *, expected_id: str | None = None) -> None:
        self.path = path
        self._files: dict[str, ReadFile] = {}
        self.record = self._open(disk, expected_id)

    def _open(self, disk: Storage, expected_id: str | None) -> CheckpointRecord:
        lacking = ""
        for attempt in range(_OPEN_ATTEMPTS):
            if attempt:
                time.sleep(0.001 * attempt)  # an overwrite is removing the files that we were told of
            try:
                with disk.open_directory(self.path) as directory:
                    record = read_record(directory, self.path)
                    if expected_id not in (None, record.id):
                        raise CheckpointReplacedError(self.path, str(expected_id), record.id)
                    missing = self._open_files(directory, record)
            except NotADirectoryError:
                raise CheckpointNotFoundError(self.path, "this is not a checkpoint's directory") from None
            except FileNotFoundError:
                lacking = ""  # it is being deleted, or is gone
                continue
            except ValueError:  # NUL in the path
                raise CheckpointNotFoundError(self.path, "this is no path") from None
            except HoldfastError:
                raise
            except OSError as err:
                raise CheckpointDamagedError(self.path, f"it cannot be opened ({err.strerror})") from err
            if missing is None:
                return record
            lacking = missing
        if lacking:
            raise CheckpointDamagedError(self.path, f"{lacking} is missing")
        raise CheckpointNotFoundError(self.path)

    def _open_files(self, directory: Directory, record: CheckpointRecord) -> str | None:
        """Open all files of `record`; returns the name of one that is not there."""
        self.close()
        for entry in (record.tree, *record.packs):
            try:
                file = self._files[entry.name] = directory.open(entry.name)
            except FileNotFoundError:
                return entry.name
            except OSError as err:
                raise CheckpointDamagedError(
                    self.path, f"{entry.name} cannot be opened ({err.strerror})"
                ) from err
            if file.size != entry.size:
                what = f"{entry.name} has {file.size} bytes instead of {entry.size}"
                raise CheckpointDamagedError(self.path, what)
        return None

    @property
    def tree(self) -> Node:
        """The state, with a `Leaf` where an array's bytes are to be asked for."""
        return self.stored.tree

    @cached_property
    def stored(self) -> StoredTree:
        """The tree with the places of its pieces, checked against the record's digest."""
        entry = self.record.tree
        data = _read_whole(self._files[entry.name], MAX_TREE_BYTES, self.path, "state tree")
        if blake3(data).hexdigest() != entry.digest:
            raise CheckpointDamagedError(
                self.path, f"its state tree {entry.name} has another digest than recorded"
            )
        stored = decode_tree(data, self.path)
        for leaf in leaves(stored.tree):
            self._check_pieces(leaf, stored.pieces[leaf.path])
        return stored

    def _check_pieces(self, leaf: Leaf, pieces: Sequence[Piece]) -> None:
        """The pieces' places must add up to the leaf, before memory is taken for it."""
        plausible = leaf.size_bytes <= len(pieces) * LARGE_PIECE_BYTES  # else counting could take forever
        if not plausible or len(pieces) != sum(1 for _ in cuts(leaf)):
            raise CheckpointDamagedError(
                self.path, f"leaf {leaf.path!r} does not have the pieces of its shape"
            )
        for cut, piece in zip(cuts(leaf), pieces, strict=True):
            start, end = self._spans(piece.file).get(piece.key, (0, -1))
            if end - start != cut.size:
                raise CheckpointDamagedError(
                    self.path, f"leaf {leaf.path!r}: no piece {piece.key!r} of its size"
                )

    def _spans(self, pack: str) -> Mapping[str, tuple[int, int]]:
        """Where each piece of a pack is; read and checked at first use."""
        if pack not in self._headers:
            recorded = next((entry.digest for entry in self.record.packs if entry.name == pack), None)
            if recorded is None:
                raise CheckpointDamagedError(self.path, f"{pack} is no pack of its record")
            try:
                header = read_header(self._files[pack])
                if blake3(header).hexdigest() != recorded:
                    raise ValueError("its header has another digest than recorded")
                self._headers[pack] = parse_header(header, self._files[pack].size)
            except (ValueError, EOFError, OSError) as err:
                distrust(pack, recorded)
                raise CheckpointDamagedError(self.path, f"{pack}: {err}") from None
        return self._headers[pack]

    @cached_property
    def _headers(self) -> dict[str, Mapping[str, tuple[int, int]]]:
        return {}

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        """Fill `out` (`(leaf.size_bytes,)` uint8) with the leaf's bytes, checked.

        Raises:
            PieceDamagedError: bytes are not what was saved; `out` may hold some of them.
        """
        target = out.data
        parts = [(leaf, piece, target[cut.start : cut.start + cut.size]) for cut, piece in self._pieces(leaf)]
        run = self._pool.map if leaf.size_bytes >= _THREADED_BYTES else map
        for _ in run(lambda part: self._read_piece(*part), parts):
            pass

    def check(self, wanted: Sequence[Leaf]) -> None:
        """Read and check every byte of these leaves."""
        for problem in self.problems(wanted):
            raise problem

    def problems(
        self, wanted: Sequence[Leaf] | None = None, *, deep: bool = False
    ) -> Iterator[PieceDamagedError]:
        """The damaged pieces of these leaves (default: all). `deep` compares BLAKE3 too, not only XXH3."""
        # Any number of leaves may be made of the same bytes, which are read once.
        jobs: dict[tuple[str, str], list[tuple[Leaf, Piece]]] = {}
        size_bytes = 0
        for leaf in leaves(self.tree) if wanted is None else wanted:
            for cut, piece in self._pieces(leaf):
                same = jobs.setdefault((piece.file, piece.key), [])
                size_bytes += 0 if same else cut.size
                same.append((leaf, piece))
        scratch = local()

        def check(same: Sequence[tuple[Leaf, Piece]]) -> list[PieceDamagedError]:
            leaf, piece = same[0]
            start, end = self._spans(piece.file)[piece.key]
            if not hasattr(scratch, "buffer") or len(scratch.buffer) < end - start:
                scratch.buffer = memoryview(bytearray(end - start))
            data = scratch.buffer[: end - start]
            try:
                self._read_span(leaf, piece, data)
            except PieceDamagedError as err:
                return [err]
            found = xxh3_128_hexdigest(data), blake3(data).hexdigest() if deep else ""
            return [err for each in same if (err := self._difference(*each, *found))]

        run = self._pool.map if size_bytes >= _THREADED_BYTES else map
        for found in run(check, jobs.values()):
            yield from found

    def _pieces(self, leaf: Leaf) -> Iterator[tuple[Cut, Piece]]:
        return zip(cuts(leaf), self.stored.pieces[leaf.path], strict=True)

    def _read_piece(self, leaf: Leaf, piece: Piece, out: memoryview) -> None:
        self._read_span(leaf, piece, out)
        if err := self._difference(leaf, piece, xxh3_128_hexdigest(out)):
            raise err

    def _read_span(self, leaf: Leaf, piece: Piece, out: memoryview) -> None:
        start, _ = self._spans(piece.file)[piece.key]
        try:
            self._files[piece.file].read_into(start, out)
        except (EOFError, OSError) as err:
            distrust(piece.file, piece.blake3)
            raise PieceDamagedError(
                self.path, leaf.path, piece.file, piece.xxh3, f"unreadable: {err}"
            ) from err

    def _difference(
        self, leaf: Leaf, piece: Piece, found_xxh3: str, found_blake3: str = ""
    ) -> PieceDamagedError | None:
        """What is wrong with bytes of these digests in the place of `piece`; None if nothing is."""
        for expected, found in ((piece.xxh3, found_xxh3), (piece.blake3, found_blake3)):
            if found and found != expected:
                distrust(piece.file, piece.blake3)
                return PieceDamagedError(self.path, leaf.path, piece.file, expected, found)
        return None

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="holdfast-read")

    def close(self) -> None:
        """Let go of the files; nothing can be read afterwards."""
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


def _read_whole(file: ReadFile, limit: int, place: str, what: str) -> bytearray:
    if file.size > limit:
        raise CheckpointDamagedError(place, f"its {what} would be {file.size} bytes long")
    data = bytearray(file.size)
    try:
        file.read_into(0, memoryview(data))
    except (EOFError, OSError) as err:
        raise CheckpointDamagedError(place, f"its {what} cannot be read ({err})") from err
    return data
