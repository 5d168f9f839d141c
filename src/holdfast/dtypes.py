"""The names of element types: what a leaf's `dtype` may say, in files and in memory.

A name is one of `_PLAIN` (little-endian), or NumPy's own description for everything else: a type
string such as `">f4"`, `"<M8[ns]"`, `"<U5"`, or the JSON text of a structured type's fields. No
name ever refers to Python objects, so no name can make a reader run code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UsageError

# name: (bytes of an item, the name safetensors has had for it from the beginning, or None)
_PLAIN: dict[str, tuple[int, str | None]] = {
    "bool": (1, "BOOL"),
    "int8": (1, "I8"),
    "uint8": (1, "U8"),
    "int16": (2, "I16"),
    "uint16": (2, "U16"),
    "int32": (4, "I32"),
    "uint32": (4, "U32"),
    "int64": (8, "I64"),
    "uint64": (8, "U64"),
    "float16": (2, "F16"),
    "bfloat16": (2, "BF16"),
    "float32": (4, "F32"),
    "float64": (8, "F64"),
    "complex32": (4, None),
    "complex64": (8, "C64"),
    "complex128": (16, None),
    "float8_e4m3fn": (1, "F8_E4M3"),
    "float8_e5m2": (1, "F8_E5M2"),
    "float8_e4m3fnuz": (1, None),
    "float8_e5m2fnuz": (1, None),
    "float8_e8m0fnu": (1, None),
    "float8_e3m4": (1, None),
    "float8_e4m3": (1, None),
    "float8_e4m3b11fnuz": (1, None),
    "float4_e2m1fn_x2": (1, None),
    **dict.fromkeys(("float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"), (1, None)),
    **dict.fromkeys(("int1", "int2", "int4", "uint1", "uint2", "uint4"), (1, None)),
}
SMALL_INTEGERS = {"int1": 1, "int2": 2, "int4": 4, "uint1": 1, "uint2": 2, "uint4": 4}
"""Bits of an item; it has a byte to itself, and is in its low bits."""

_NOT_IN_NUMPY = frozenset(
    name
    for name in _PLAIN
    if name.startswith(("bfloat", "float8_", "float6_", "float4_", "complex32")) or name in SMALL_INTEGERS
)
# What newer releases of safetensors name, too (0.6 on), where its items lie as ours do.
_NEWER_IN_SAFETENSORS = {
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
}
_TYPE_STRING = re.compile(r"[<>|](?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[A-Za-z]{1,7}\])?)")
_MAX_FIELDS = 1024


def check(dtype: str) -> None:
    """ValueError unless `dtype` is a name of an element type, known to NumPy or not."""
    item_size(dtype)


@lru_cache(maxsize=1024)
def item_size(dtype: str) -> int:
    """Bytes of one item.

    Raises:
        ValueError: `dtype` is not a name of an element type.
    """
    return _PLAIN[dtype][0] if dtype in _PLAIN else to_numpy(dtype).itemsize


def alignment_of(dtype: str) -> int:
    """Bytes of which the places of items are multiples: 12-byte items need (and keep) multiples of 4."""
    items = item_size(dtype)
    return items & -items


def plain_names() -> tuple[str, ...]:
    """All names that are no descriptions of NumPy's."""
    return tuple(_PLAIN)


def is_in_numpy(dtype: str) -> bool:
    """Whether NumPy has it without `ml_dtypes`."""
    return dtype not in _NOT_IN_NUMPY


def safetensors_name(dtype: str) -> str | None:
    """What every reader of the safetensors format calls `dtype`, so that a pack may; None if some have no name for it."""
    return _PLAIN[dtype][1] if dtype in _PLAIN else None


def safetensors_name_now(dtype: str) -> str | None:
    """What the safetensors format calls `dtype` by now, for files that are exchanged; None if it has no name for it."""
    return safetensors_name(dtype) or _NEWER_IN_SAFETENSORS.get(dtype)


def name_of(dtype: np.dtype[Any]) -> str:
    """The name of a NumPy element type, `ml_dtypes` included.

    Raises:
        ValueError: it holds Python objects, or is an extension type that has no name here.
    """
    if dtype.hasobject:
        raise ValueError("arrays of Python objects have no bytes of their own")
    if dtype.names is not None:
        return json.dumps(np.lib.format.dtype_to_descr(dtype), separators=(",", ":"))
    if dtype.name in _PLAIN and dtype.newbyteorder("<") == dtype:
        return dtype.name
    if _TYPE_STRING.fullmatch(dtype.str) and np.dtype(dtype.str) == dtype:
        return dtype.str
    raise ValueError(f"element type {dtype} has no name in the bundle format")


@lru_cache(maxsize=1024)
def to_numpy(dtype: str) -> np.dtype[Any]:
    """The NumPy element type of this name.

    Raises:
        ValueError: no such name.
        UsageError: NumPy has it only through `ml_dtypes`, which is not installed, or not at all.
    """
    if dtype in _NOT_IN_NUMPY:
        return _from_ml_dtypes(dtype)
    if dtype in _PLAIN:
        return np.dtype(dtype).newbyteorder("<")
    if _TYPE_STRING.fullmatch(dtype):
        try:
            return np.dtype(dtype)
        except (ArithmeticError, TypeError, ValueError) as err:
            raise ValueError(f"{dtype[:80]!r} is not an element type: {err}") from None
    if dtype.startswith("["):
        return _structured(dtype)
    raise ValueError(f"{dtype[:80]!r} is not a known element type")


def _from_ml_dtypes(dtype: str) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise UsageError(
            f"NumPy has no {dtype}: `pip install ml_dtypes`, or restore into a framework"
        ) from None
    found = getattr(ml_dtypes, dtype, None)
    if found is None:
        raise UsageError(f"NumPy has no {dtype}; restore it into its own framework")
    return np.dtype(found)


def _structured(text: str) -> np.dtype[Any]:
    try:
        fields = _fields(json.loads(text), depth=0)
        return np.lib.format.descr_to_dtype(fields)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as err:
        raise ValueError(f"{text[:80]!r} is not a structured type: {err}") from None


def _fields(described: Any, depth: int) -> list[tuple[Any, ...]]:
    """NumPy's field tuples from their JSON form, each type string checked."""
    if not isinstance(described, list) or len(described) > _MAX_FIELDS or depth > 8:
        raise ValueError("not a list of fields")
    return [_field(entry, depth) for entry in described]


def _field(entry: Any, depth: int) -> tuple[Any, ...]:
    if not isinstance(entry, list) or len(entry) not in (2, 3):
        raise ValueError("a field is [name, type] or [name, type, shape]")
    name, kind, *shape = entry
    if isinstance(name, list):  # [title, name]
        name = tuple(name)
    if isinstance(kind, list):
        kind = _fields(kind, depth + 1)
    elif not (isinstance(kind, str) and _TYPE_STRING.fullmatch(kind)):
        raise ValueError("unknown type string")
    return (name, kind, *(tuple(int(extent) for extent in sides) for sides in shape))


def turned(raw: npt.NDArray[np.uint8], dtype: str, shape: Sequence[int], order: str) -> npt.NDArray[np.uint8]:
    """The bytes of an array that are in `order` ("C" or "F"), in the other one."""
    in_memory = shape if order == "C" else shape[::-1]
    items = raw.reshape(*in_memory, item_size(dtype))
    axes = (*reversed(range(len(shape))), len(shape))
    return np.ascontiguousarray(items.transpose(axes)).reshape(-1)
