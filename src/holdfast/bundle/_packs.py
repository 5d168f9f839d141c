"""The opened packs of a bundle: where its pieces are, and their bytes, none of them unchecked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from blake3 import blake3
from xxhash import xxh3_128, xxh3_128_hexdigest

from ..errors import CheckpointDamagedError, PieceDamagedError, UsageError
from ..records import CheckpointRecord, Leaf
from ..storage import ReadFile
from ._codec import decompress
from ._pack import alignment_of, parse_header, read_header
from ._pieces import Piece


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of one pack from `start` on."""

    pack: str
    start: int


class Packs:
    """Reads pieces; thread-safe. `place` is named in errors, `files` are the opened ones by name."""

    def __init__(self, place: str, files: Mapping[str, ReadFile], record: CheckpointRecord) -> None:
        self._place, self._files = place, files
        self._digests = {entry.name: entry.digest for entry in record.packs}
        self._headers: dict[str, Mapping[str, tuple[int, int]]] = {}
        self._maps: dict[str, memoryview] = {}

    def file(self, name: str) -> ReadFile:
        """An opened file of the bundle.

        Raises:
            UsageError: the bundle has been closed.
        """
        if name not in self._files:
            raise UsageError(f"{self._place} has been closed; open it again to read more of it")
        return self._files[name]

    def spans(self, pack: str) -> Mapping[str, tuple[int, int]]:
        """Where each piece of a pack is; read and checked at first use."""
        if pack not in self._headers:
            if pack not in self._digests:
                raise CheckpointDamagedError(self._place, f"{pack} is no pack of its record")
            file = self.file(pack)
            try:
                header = read_header(file)
                if blake3(header).hexdigest() != self._digests[pack]:
                    raise ValueError("its header has another digest than recorded")
                self._headers[pack] = parse_header(header, file.size)
            except (ValueError, EOFError) as err:
                raise CheckpointDamagedError(self._place, f"{pack}: {err}") from None
        return self._headers[pack]

    def read(self, leaf: Leaf, piece: Piece, out: memoryview, codec: str | None = None) -> None:
        """Fill `out` with the piece, decompressed if there is a `codec`.

        Raises:
            PieceDamagedError: bytes are not what was saved; `out` may hold some of them.
        """
        if codec is None:
            self._read(leaf, piece, 0, out)
        else:
            self._decompress(leaf, piece, out)
        self._compare(leaf, piece, piece.xxh3, xxh3_128_hexdigest(out))

    def check(
        self, leaf: Leaf, size: int, piece: Piece, scratch: memoryview, codec: str | None, *, deep: bool
    ) -> None:
        """Read the piece, part by part through `scratch`, which stays in the processor's cache, if it is plain.

        Raises:
            PieceDamagedError: bytes are not what was saved. `deep` compares BLAKE3 too, not only XXH3.
        """
        if codec is not None:
            whole = memoryview(bytearray(size))
            self.read(leaf, piece, whole, codec)
            if deep:
                self._compare(leaf, piece, piece.blake3, blake3(whole).hexdigest())
            return
        fast, strong = xxh3_128(), blake3()
        for start in range(0, size, len(scratch)):
            part = scratch[: min(len(scratch), size - start)]
            self._read(leaf, piece, start, part)
            fast.update(part)
            if deep:
                strong.update(part)
        self._compare(leaf, piece, piece.xxh3, fast.hexdigest())
        if deep:
            self._compare(leaf, piece, piece.blake3, strong.hexdigest())

    def run(self, leaf: Leaf, pieces: Sequence[Piece]) -> Run | None:
        """Where the leaf is one run of bytes in one pack, its items aligned; None if it is not."""
        if not pieces or any(piece.file != pieces[0].file for piece in pieces):
            return None
        spans = [self.spans(piece.file)[piece.key] for piece in pieces]
        start = spans[0][0]
        if start % alignment_of(leaf.dtype) or any(end != begin for (_, end), (begin, _) in pairwise(spans)):
            return None
        return Run(pieces[0].file, start)

    def map(self, pack: str) -> memoryview:
        """The whole pack as read-only memory that outlives its closing; OSError where the disk cannot."""
        if pack not in self._maps:
            self._maps[pack] = self.file(pack).map()
        return self._maps[pack]

    def _read(self, leaf: Leaf, piece: Piece, start: int, out: memoryview) -> None:
        """Bytes of the piece from `start` on, unchecked."""
        begin, _ = self.spans(piece.file)[piece.key]
        try:
            self.file(piece.file).read_into(begin + start, out)
        except (EOFError, OSError) as err:
            raise PieceDamagedError(
                self._place, leaf.path, piece.file, piece.xxh3, f"unreadable: {err}"
            ) from err

    def _decompress(self, leaf: Leaf, piece: Piece, out: memoryview) -> None:
        begin, end = self.spans(piece.file)[piece.key]
        frame = np.empty(end - begin, np.uint8)
        self._read(leaf, piece, 0, frame.data)
        try:
            decompress(frame, leaf.dtype, out)
        except ValueError as err:
            raise PieceDamagedError(
                self._place, leaf.path, piece.file, piece.xxh3, f"unreadable: {err}"
            ) from None

    def _compare(self, leaf: Leaf, piece: Piece, expected: str, found: str) -> None:
        if found != expected:
            raise PieceDamagedError(self._place, leaf.path, piece.file, expected, found)
