"""Writing `.pt` for `torch.load(weights_only=True)`: a dict of tensors by name. Needs no torch, and streams.

The format is torch's zip archive: `data.pkl` describes each tensor by its storage, whose raw bytes are the member
`data/<number>`. The description is a pickle of the few instructions that the weights-only reader allows; it is put
together here, byte by byte. Nothing in Holdfast ever reads one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from itertools import accumulate
from math import prod
from operator import mul

from ..bundle import Bundle
from ..records import Leaf
from ..storage import NewFiles
from ._choose import Chosen
from ._stream import plain_dtype, runs
from ._zip_out import zip_file

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "complex128": "ComplexDoubleStorage",
    "complex64": "ComplexFloatStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
# Younger dtypes have no storage class of their own: bytes, and the dtype beside them.
_YOUNGER = frozenset(
    {
        *("uint16", "uint32", "uint64", "complex32", "float8_e4m3fn", "float8_e5m2"),
        *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
    }
)
_ALIGNMENT = 64  # as torch writes it, so that mmap=True finds every item aligned


def write(source: Bundle, chosen: Chosen, files: NewFiles, name: str) -> list[str]:
    """Write one file; returns its name. Tied tensors share a storage again when they are loaded."""
    chosen.check("torch", lambda leaf: plain_dtype(leaf) in _YOUNGER | _STORAGES.keys())
    numbers = {array: number for number, array in enumerate(chosen.arrays)}
    homes = {array: array for array in chosen.arrays} | dict(chosen.tied)
    with zip_file(files.create(name), _ALIGNMENT) as archive:
        archive.add("archive/data.pkl", [_describe(homes, chosen.arrays, numbers)])
        archive.add("archive/byteorder", [b"little"])
        for array, leaf in chosen.arrays.items():
            archive.add(f"archive/data/{numbers[array]}", runs(source, leaf, keep_order=True))
        archive.add("archive/version", [b"3\n"])
    return [name]


def _describe(homes: Mapping[str, str], arrays: Mapping[str, Leaf], numbers: Mapping[str, int]) -> bytes:
    items = b"".join(_text(name) + _tensor(arrays[kept], numbers[kept]) for name, kept in homes.items())
    return b"\x80\x02" + b"}(" + items + b"u."  # protocol 2; a dict of the items; the end


def _tensor(leaf: Leaf, number: int) -> bytes:
    dtype = plain_dtype(leaf)
    young = dtype in _YOUNGER
    items = leaf.size_bytes if young else prod(leaf.shape)
    kind = _global("torch.storage", "UntypedStorage") if young else _global("torch", _STORAGES[dtype])
    storage = _tuple(_text("storage"), kind, _text(str(number)), _text("cpu"), _integer(items)) + b"Q"
    place = (storage, _integer(0), _integers(leaf.shape), _integers(_strides(leaf)))
    no_hooks = _global("collections", "OrderedDict") + b")R"
    rebuild = "_rebuild_tensor_v3" if young else "_rebuild_tensor_v2"
    last = (_global("torch", dtype),) if young else ()
    return _global("torch._utils", rebuild) + _tuple(*place, b"\x89", no_hooks, *last) + b"R"


def _strides(leaf: Leaf) -> list[int]:
    """In items."""
    extents = [max(1, extent) for extent in (leaf.shape if leaf.order == "F" else leaf.shape[::-1])]
    strides = list(accumulate(extents[:-1], mul, initial=1))[: len(extents)]
    return strides if leaf.order == "F" else strides[::-1]


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _integers(values: Iterable[int]) -> bytes:
    return _tuple(*map(_integer, values))


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"
