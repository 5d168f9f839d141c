"""The opened packs of a bundle: where its pieces are, and their bytes, none of them unchecked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import TypeAlias, TypeVar

import numpy as np
from blake3 import blake3
from xxhash import xxh3_128, xxh3_128_hexdigest

from ..dtypes import alignment_of
from ..errors import CheckpointDamagedError, PieceDamagedError, UsageError
from ..records import Bytes, FileEntry, Leaf
from ..storage import ReadFile
from ._format.codec import decompress, num_planes
from ._format.pack import parse_header, read_header
from ._format.pieces import Piece
from ._open import unreadable
from ._rot import distrust


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of one pack from `start` on."""

    pack: str
    start: int


_SMALL_BYTES = 64 << 10  # smaller pieces are read with their neighbours
_RUN_BYTES = 1 << 20
_GAP_BYTES = 4096  # between pieces that are read together

Target: TypeAlias = tuple[Leaf, Piece, memoryview]
"""A piece of a leaf, and where its bytes are wanted."""

Same: TypeAlias = Sequence[tuple[Leaf, int, Piece]]
"""Pieces, each with its leaf and its size, that are the same bytes of the same pack."""

Item = TypeVar("Item")
_Placed: TypeAlias = tuple[str, int, int, Item]
"""Where a small piece is: its pack, where in that it begins, its size; and whose it is."""


class Packs:
    """Reads pieces; thread-safe. `place` is named in errors, `files` are the opened ones by name."""

    def __init__(self, place: str, files: Mapping[str, ReadFile], packs: Iterable[FileEntry]) -> None:
        self._place, self._files = place, files
        self._digests = {entry.name: entry.digest for entry in packs}
        self._headers: dict[str, Mapping[str, tuple[int, int]]] = {}
        self._maps: dict[str, memoryview] = {}

    def file(self, name: str) -> ReadFile:
        """An opened file of the bundle.

        Raises:
            UsageError: the bundle has been closed.
        """
        if name not in self._files:
            raise UsageError(f"{self._place} has been closed; open it again to read from it")
        return self._files[name]

    def spans(self, pack: str) -> Mapping[str, tuple[int, int]]:
        """Where each piece of a pack is; read and checked at first use."""
        found = self._headers.get(pack)
        if found is None:
            if pack not in self._digests:
                raise CheckpointDamagedError(self._place, f"{pack} is no pack of its record")
            file = self.file(pack)
            try:
                header = read_header(file)
                if blake3(header).hexdigest() != self._digests[pack]:
                    raise ValueError("its header has another digest than recorded")
                found = self._headers[pack] = parse_header(header, file.size)
            except OSError as err:
                raise unreadable(self._place, f"{pack} cannot be read", err) from err
            except (ValueError, EOFError) as err:
                distrust(pack, self._digests[pack])
                raise CheckpointDamagedError(self._place, f"{pack}: {err}") from None
        return found

    def read(self, leaf: Leaf, piece: Piece, out: memoryview, codec: str | None = None) -> None:
        """Fill `out` with the piece, decompressed if there is a `codec`.

        Raises:
            PieceDamagedError: bytes are not what was saved; `out` may hold some of them.
            CheckpointUnreadableError: the disk refuses to read them.
        """
        try:
            if codec is None:
                self._read_piece(piece, 0, out)
                found = xxh3_128_hexdigest(out)
            else:
                found, _ = _inside(self._frame(piece), leaf, out, deep=False)
        except EOFError as err:
            found = f"unreadable: {err}"
        self._refuse(leaf, piece, found)

    def read_all(self, targets: Sequence[Target], codecs: Mapping[str, str]) -> None:
        """As `read`, for each of these; `codecs` by the path of the leaf. Small pieces that lie side by side are read together."""
        small: list[_Placed[Target]] = []
        for target in targets:
            leaf, piece, out = target
            codec = codecs.get(leaf.path)
            if codec is None and len(out) < _SMALL_BYTES:
                small.append((piece.file, self.spans(piece.file)[piece.key][0], len(out), target))
            else:
                self.read(leaf, piece, out, codec)
        small.sort(key=_place)
        for run in _runs(small):
            if self._fill(run):
                for *_, (leaf, piece, out) in run:
                    if (found := xxh3_128_hexdigest(out)) != piece.xxh3:
                        self._refuse(leaf, piece, found)
            else:
                for *_, (leaf, piece, out) in run:
                    self.read(leaf, piece, out)

    def check_all(
        self, jobs: Sequence[tuple[Same, str | None]], scratch: memoryview, *, deep: bool
    ) -> list[PieceDamagedError]:
        """As `check`, for each of these with its codec; small pieces that lie side by side are read together."""
        found: dict[int, list[PieceDamagedError]] = {}
        small: list[_Placed[int]] = []
        for index, (same, codec) in enumerate(jobs):
            _, size, piece = same[0]
            if codec is None and size < _SMALL_BYTES:
                small.append((piece.file, self.spans(piece.file)[piece.key][0], size, index))
            else:
                found[index] = self.check(same, scratch, codec, deep=deep)
        for index, data in self._together(small):
            same, codec = jobs[index]
            if data is None:
                found[index] = self.check(same, scratch, codec, deep=deep)
            else:
                digests = xxh3_128_hexdigest(data), blake3(data).hexdigest() if deep else ""
                found[index] = self._differences(same, [digests] * len(same))
        return [damage for index in sorted(found) for damage in found[index]]

    def check(
        self, same: Same, scratch: memoryview, codec: str | None, *, deep: bool
    ) -> list[PieceDamagedError]:
        """What is wrong with each of these pieces, that are the same bytes of the same pack.

        They are read once: if plain, part by part through `scratch`, which stays in the processor's cache.
        `deep` compares BLAKE3 too, not only XXH3.
        """
        _, size, piece = same[0]
        try:
            if codec is None:
                found = [self._read_digests(piece, size, scratch, deep=deep)] * len(same)
            else:
                found = _inside_for_each(self._frame(piece), same, deep=deep)
        except EOFError as err:
            found = [(f"unreadable: {err}", "")] * len(same)
        return self._differences(same, found)

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
        """The entire pack as read-only memory that outlives its closing; OSError where the disk cannot."""
        if pack not in self._maps:
            self._maps[pack] = self.file(pack).map()
        return self._maps[pack]

    def _read_piece(self, piece: Piece, start: int, out: memoryview) -> None:
        """Bytes of the piece from `start` on, unchecked."""
        begin, _ = self.spans(piece.file)[piece.key]
        self._read(piece.file, begin + start, out)

    def _fill(self, run: Sequence[_Placed[Target]]) -> bool:
        """Read these pieces at once, unchecked; False if the file ends too early, or if they overlap."""
        pack, begin, *_ = run[0]
        outs: list[memoryview] = []
        again: list[tuple[memoryview, memoryview]] = []
        last, end = -1, begin
        for _, start, size, (_, _, out) in run:
            if start == last and start + size == end:  # the same piece for another leaf
                again.append((out, outs[-1]))
                continue
            if start < end:
                return False
            if start > end:
                outs.append(memoryview(bytearray(start - end)))
            outs.append(out)
            last, end = start, start + size
        try:
            self._read(pack, begin, *outs)
        except EOFError:
            return False
        for out, first in again:
            out[:] = first
        return True

    def _together(self, placed: list[_Placed[Item]]) -> Iterator[tuple[Item, memoryview | None]]:
        """Each of these with its bytes, unchecked; None where the file ends too early for one that was read with it."""
        placed.sort(key=_place)
        for run in _runs(placed):
            pack, begin, *_ = run[0]
            room = memoryview(bytearray(max(start + size for _, start, size, _ in run) - begin))
            try:
                self._read(pack, begin, room)
            except EOFError:
                yield from ((item, None) for *_, item in run)
                continue
            for _, start, size, item in run:
                yield item, room[start - begin : start - begin + size]

    def _read(self, pack: str, start: int, *outs: memoryview) -> None:
        try:
            self.file(pack).read_into(start, *outs)
        except OSError as err:
            raise unreadable(self._place, f"{pack} cannot be read", err) from err

    def _frame(self, piece: Piece) -> Bytes:
        begin, end = self.spans(piece.file)[piece.key]
        frame = np.empty(end - begin, np.uint8)
        self._read_piece(piece, 0, frame.data)
        return frame

    def _read_digests(self, piece: Piece, size: int, scratch: memoryview, *, deep: bool) -> tuple[str, str]:
        fast, strong = xxh3_128(), blake3()
        for start in range(0, size, len(scratch)):
            part = scratch[: min(len(scratch), size - start)]
            self._read_piece(piece, start, part)
            fast.update(part)
            if deep:
                strong.update(part)
        return fast.hexdigest(), strong.hexdigest() if deep else ""

    def _differences(self, same: Same, found: Sequence[tuple[str, str]]) -> list[PieceDamagedError]:
        differences = (
            self._difference(leaf, piece, *each) for (leaf, _, piece), each in zip(same, found, strict=True)
        )
        return [damage for damage in differences if damage]

    def _refuse(self, leaf: Leaf, piece: Piece, found_xxh3: str) -> None:
        """Raise PieceDamagedError if this is not the digest of the piece."""
        if damage := self._difference(leaf, piece, found_xxh3):
            raise damage

    def _difference(
        self, leaf: Leaf, piece: Piece, found_xxh3: str, found_blake3: str = ""
    ) -> PieceDamagedError | None:
        """What is wrong with bytes of these digests where `piece` should be; None if nothing is."""
        for expected, found in ((piece.xxh3, found_xxh3), (piece.blake3, found_blake3)):
            if found and found != expected:
                distrust(piece.file, piece.blake3)
                return PieceDamagedError(self._place, leaf.path, piece.file, expected, found)
        return None


_place = itemgetter(0, 1)


def _runs(placed: Iterable[_Placed[Item]]) -> Iterator[list[_Placed[Item]]]:
    """Those that are read together, of pieces in the order of their packs' bytes."""
    run: list[_Placed[Item]] = []
    first = end = 0
    for each in placed:
        pack, start, size, _ = each
        if run and (pack != run[0][0] or start > end + _GAP_BYTES or start + size > first + _RUN_BYTES):
            yield run
            run = []
        if not run:
            first = end = start
        run.append(each)
        end = max(end, start + size)
    if run:
        yield run


def _inside_for_each(frame: Bytes, same: Same, *, deep: bool) -> list[tuple[str, str]]:
    """The digests of what the frame holds, decompressed once for all that take it apart alike."""
    known: dict[tuple[int, int], tuple[str, str]] = {}
    found = []
    for leaf, size, _ in same:
        layout = (size, num_planes(leaf.dtype))
        if layout not in known:
            known[layout] = _inside(frame, leaf, memoryview(bytearray(size)), deep=deep)
        found.append(known[layout])
    return found


def _inside(frame: Bytes, leaf: Leaf, out: memoryview, *, deep: bool) -> tuple[str, str]:
    """Fill `out` with what the frame holds if it is a piece of the leaf; its digests, or why there are none."""
    try:
        decompress(frame, leaf.dtype, out)
    except UsageError:  # zstandard is lacking, which says nothing of the bytes
        raise
    except ValueError as err:
        return f"unreadable: {err}", ""
    return xxh3_128_hexdigest(out), blake3(out).hexdigest() if deep else ""
