"""Packs: valid safetensors files, laid out so that every piece is aligned.

The header is padded with spaces so that the data begin at a multiple of 4096. Pieces whose size is a
multiple of 4096 come first, the others follow by falling alignment of their items: safetensors allows no
holes, and this order needs none. A snapshot in memory has them in the same order, so that they can be written from
where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ...records import Extent, Rank, packed_rank
from ...storage import Buffer, ReadFile, WriteFile
from . import strict_json
from .pieces import MAX_PIECE_BYTES, Cut

ALIGNMENT = 4096
MAX_HEADER_BYTES = 64 << 20
_MAX_RANK = 64
BATCH_BYTES = 1 << 20
"""A piece of fewer bytes waits for others, to be written with them."""
_JOINED_BYTES = 16 << 10  # a copy of fewer costs less than a part of its own in a write
_EXTENT_BYTES = 4 << 20  # so much of an extent is written at once
_SIZES = {
    name: size
    for size, names in {
        1: ("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"),
        2: ("U16", "I16", "F16", "BF16"),
        4: ("U32", "I32", "F32"),
        8: ("U64", "I64", "F64", "C64"),
    }.items()
    for name in names
}


def in_pack_order(cuts: Iterable[Cut]) -> list[Cut]:
    """The order in which pieces stand in a pack: each is aligned to its items, and there are no holes."""
    return sorted(cuts, key=_rank)


def header_size(room: Sequence[Cut]) -> int:
    """How many bytes the header takes of a pack in which all these pieces may stand."""
    # The offsets of the last piece are the longest, so no real entry is longer than this.
    end = sum(cut.size for cut in room)
    longest = strict_json.encode({cut.key: _entry(cut, end) for cut in room})
    return -(-(8 + len(longest)) // ALIGNMENT) * ALIGNMENT


def encode_header(pieces: Sequence[Cut], size: int) -> bytes:
    """The header of a pack with these pieces one after the other, with its length; filled with spaces up to `size`."""
    starts = accumulate((cut.size for cut in pieces), initial=0)
    table = {cut.key: _entry(cut, start) for cut, start in zip(pieces, starts, strict=False)}
    return (size - 8).to_bytes(8, "little") + strict_json.encode(table).ljust(size - 8)


class PackWriter:
    """Writes a pack as its pieces come, the header last; they must come in pack order, with unique keys.

    `header_size` bytes are kept for the header at the beginning: no fewer than `header_size` says for all pieces that may come.
    """

    def __init__(self, file: WriteFile, header_size: int) -> None:
        self._file, self._header_size = file, header_size
        self._pieces: list[Cut] = []
        self._waiting: list[Buffer] = []
        self._waiting_bytes = 0
        self._small: bytearray | None = None  # the last one that waits, if small pieces can be added to it
        self._extent: Extent | None = None  # that waits to be continued; then nothing else waits
        file.skip(header_size)

    def add(self, cut: Cut, data: memoryview) -> None:
        """Append a piece, which must not change until `finish`; they are gathered, so that the disk sees large writes."""
        self._pieces.append(cut)
        self._flush_extent()
        size = len(data)
        if self._waiting_bytes + size > BATCH_BYTES:
            self._flush()
        if size >= _JOINED_BYTES:
            self._waiting.append(data)
            self._small = None
        elif self._small is None:
            self._small = bytearray(data)
            self._waiting.append(self._small)
        else:
            self._small += data
        self._waiting_bytes += size
        if size >= BATCH_BYTES:
            self._flush()

    def add_extent(self, cuts: Sequence[Cut], extent: Extent) -> None:
        """As `add`, for pieces that lie side by side. What lies there in one run is written in complete pages of it."""
        self._pieces += cuts
        self._flush()
        memory, start, end = extent
        if (waiting := self._extent) is not None and waiting.memory is memory and waiting.end == start:
            start = waiting.start
        else:
            self._flush_extent()
        if end - start >= _EXTENT_BYTES and (pages := end - end % ALIGNMENT) > start:
            self._file.write(memory[start:pages])
            start = pages
        self._extent = Extent(memory, start, end)

    def finish(self, encode: Callable[[list[Cut], int], bytes] = encode_header) -> tuple[bytes, int]:
        """Write what waits and the header, as `encode` makes it; returns it, and the file's size in bytes."""
        self._flush()
        self._flush_extent()
        header = encode(self._pieces, self._header_size)
        self._file.fill(header)
        return header, len(header) + sum(cut.size for cut in self._pieces)

    def _flush_extent(self) -> None:
        if self._extent is not None:
            self._file.write(self._extent.data)
            self._extent = None

    def _flush(self) -> None:
        if self._waiting:
            self._file.write(*self._waiting)
            self._waiting, self._waiting_bytes, self._small = [], 0, None


def read_header(file: ReadFile) -> bytearray:
    """The header's bytes with their length prefix; ValueError if the file cannot hold it."""
    prefix = bytearray(8)
    if file.size < 8:
        raise ValueError("it is shorter than a header")
    file.read_into(0, memoryview(prefix))
    length = int.from_bytes(prefix, "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, file.size - 8):
        raise ValueError(f"its header would be {length} bytes long")
    header = bytearray(8 + length)
    file.read_into(0, memoryview(header))
    return header


class _Entry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One piece, as safetensors describes it."""

    dtype: str
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=_MAX_RANK)]
    data_offsets: tuple[Annotated[int, Meta(ge=0)], int]


_TABLE: Final = msgspec.json.Decoder(dict[str, _Entry])


def parse_header(header: bytes | bytearray, file_size: int) -> Mapping[str, tuple[int, int]]:
    """For each key where its bytes begin and end in the file.

    Raises:
        ValueError: the header breaks the safetensors format, or does not cover the file exactly.
    """
    text = memoryview(header)[8 : len(header.rstrip(b" "))]
    room = file_size - len(header)  # each piece has a byte at least, and its entry three keys
    table, keys = strict_json.decode_as(
        _TABLE, text, accept=lambda objects, keys: objects - 1 <= room and keys == 4 * (objects - 1)
    )
    strict_json.check_keys(4 * len(table), keys)
    if "__metadata__" in table:
        raise ValueError("its header has metadata, which packs have not")
    expected = 0
    for start, end in sorted(_span(entry) for entry in table.values()):
        if start != expected:
            raise ValueError("its pieces overlap or leave holes")
        expected = end
    if len(header) + expected != file_size:
        raise ValueError("its header does not cover the file")
    begin = len(header)
    return {
        key: (begin + entry.data_offsets[0], begin + entry.data_offsets[1]) for key, entry in table.items()
    }


def _span(entry: _Entry) -> tuple[int, int]:
    start, end = entry.data_offsets
    item_bytes = _SIZES.get(entry.dtype)
    if item_bytes is None:
        raise ValueError("a piece has an unknown element type")
    if prod(entry.shape) * item_bytes != end - start or not 0 < end - start <= MAX_PIECE_BYTES:
        raise ValueError("a piece's shape and place differ")
    return entry.data_offsets


def _entry(cut: Cut, offset: int) -> dict[str, Any]:
    return {"dtype": cut.dtype, "shape": cut.shape, "data_offsets": (offset, offset + cut.size)}


def _rank(cut: Cut) -> tuple[Rank, bool]:
    """What is left over of an array that was cut comes last of its kind: in memory it lies with the rest of that array."""
    rank = packed_rank(cut.leaf.dtype, cut.size)
    return rank, rank[0] and cut.size != cut.leaf.size_bytes
