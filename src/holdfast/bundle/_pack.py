"""Packs: valid safetensors files, laid out so that every piece is aligned.

The header is padded with spaces so that the data begin at a multiple of 4096. Pieces whose size is a
multiple of 4096 come first, the others follow by falling alignment of their items: safetensors allows no
holes, and this order needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..dtypes import item_size
from ..storage import ReadFile, WriteFile
from . import _json
from ._pieces import MAX_PIECE_BYTES, Cut

ALIGNMENT = 4096
MAX_HEADER_BYTES = 64 << 20
_MAX_RANK = 64
_BATCH_BYTES = 1 << 20
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


@dataclass(frozen=True, slots=True)
class Layout:
    """A pack before it is written: `header` with its length prefix, then the bytes of `cuts` in order."""

    header: bytes
    cuts: Sequence[Cut]
    size: int


def lay_out(cuts: Iterable[Cut]) -> Layout:
    """Order pieces and write the header. Their keys must be unique."""
    ordered = sorted(cuts, key=_place)
    table, offset = {}, 0
    for cut in ordered:
        table[cut.key] = {"dtype": cut.dtype, "shape": cut.shape, "data_offsets": (offset, offset + cut.size)}
        offset += cut.size
    text = _json.encode(table)
    length = -(-(8 + len(text)) // ALIGNMENT) * ALIGNMENT - 8
    header = length.to_bytes(8, "little") + text.ljust(length)
    return Layout(header, ordered, len(header) + offset)


def write(file: WriteFile, layout: Layout, bytes_of: Callable[[Cut], memoryview]) -> None:
    """Write the whole pack; small pieces are gathered, so that the disk sees large writes."""
    waiting = bytearray(layout.header)
    for cut in layout.cuts:
        data = bytes_of(cut)
        if len(waiting) + len(data) > _BATCH_BYTES:
            file.write(waiting)
            waiting = bytearray()
        if len(data) >= _BATCH_BYTES:
            file.write(data)
        else:
            waiting += data
    file.write(waiting)


def read_header(file: ReadFile) -> bytes:
    """The header's bytes with their length prefix; ValueError if the file cannot hold it."""
    prefix = bytearray(8)
    if file.size < 8:
        raise ValueError("it is shorter than a header")
    file.read_into(0, memoryview(prefix))
    length = int.from_bytes(prefix, "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, file.size - 8):
        raise ValueError(f"its header would be {length} bytes long")
    header = bytearray(length)
    file.read_into(8, memoryview(header))
    return bytes(prefix + header)


def parse_header(header: bytes, file_size: int) -> Mapping[str, tuple[int, int]]:
    """For each key where its bytes begin and end in the file.

    Raises:
        ValueError: the header breaks the safetensors format, or does not cover the file exactly.
    """
    table = _json.decode(header[8:])
    if type(table) is not dict:
        raise ValueError("its header is no table")
    if "__metadata__" in table:
        raise ValueError("its header has metadata, which packs have not")
    spans = {key: _span(entry) for key, entry in table.items()}
    expected = 0
    for start, end in sorted(spans.values()):
        if start != expected:
            raise ValueError("its pieces overlap or leave holes")
        expected = end
    if len(header) + expected != file_size:
        raise ValueError("its header does not cover the file")
    return {key: (len(header) + start, len(header) + end) for key, (start, end) in spans.items()}


def _span(entry: Any) -> tuple[int, int]:
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("a piece has no place")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in _SIZES:
        raise ValueError("a piece has an unknown element type")
    if not _are_counts(shape) or len(shape) > _MAX_RANK or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError("a piece has no shape or place")
    start, end = offsets
    if prod(shape) * _SIZES[dtype] != end - start or not 0 < end - start <= MAX_PIECE_BYTES:
        raise ValueError("a piece's shape and place differ")
    return start, end


def _are_counts(values: Any) -> bool:
    return type(values) is list and all(type(value) is int and value >= 0 for value in values)


def _place(cut: Cut) -> tuple[bool, int]:
    items = item_size(cut.leaf.dtype)
    alignment = items & -items  # 12-byte items need (and keep) multiples of 4
    return cut.size % ALIGNMENT != 0, -alignment
