"""Raw items as numbers and back: every element type in float64, those that NumPy lacks included.

`widen` loses nothing but digits of integers beyond 2**53 and of extended floats; `narrow` rounds once, to the
nearest, ties to even. Neither needs `ml_dtypes` or a framework: the formats are decoded from their bits.

Source of the eight-bit formats: P. Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433;
of the `fnuz` variants: B. Noune et al., arXiv:2206.02915; of e8m0 and e2m1: the OCP Microscaling specification.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from . import dtypes

Values = npt.NDArray[Any]
"""float64 or complex128, one-dimensional."""

# Of the formats with a sign bit: (bits of the exponent, of the mantissa, bias, what its special values are).
_SMALL_FLOATS = {
    "float8_e4m3fn": (4, 3, 7, "last is nan"),
    "float8_e5m2": (5, 2, 15, "ieee"),
    "float8_e4m3fnuz": (4, 3, 8, "minus zero is nan"),
    "float8_e5m2fnuz": (5, 2, 16, "minus zero is nan"),
    "float8_e3m4": (3, 4, 3, "ieee"),
    "float8_e4m3": (4, 3, 7, "ieee"),
    "float8_e4m3b11fnuz": (4, 3, 11, "minus zero is nan"),
    "float6_e2m3fn": (2, 3, 1, "none"),
    "float6_e3m2fn": (3, 2, 3, "none"),
    "float4_e2m1fn": (2, 1, 1, "none"),
}
_IN_A_TABLE = (*_SMALL_FLOATS, "float8_e8m0fnu", "float4_e2m1fn_x2", *dtypes.SMALL_INTEGERS)


def is_number(dtype: str) -> bool:
    """Whether items of that name are numbers (booleans too), so that `widen` takes them."""
    return dtype in _IN_A_TABLE or dtype in ("bfloat16", "complex32") or _kind(dtype) in "biufc"


@cache
def is_floating(dtype: str) -> bool:
    """Whether they are real or complex floating numbers, which `narrow` makes."""
    if dtype in ("float8_e8m0fnu", "float4_e2m1fn_x2", *dtypes.SMALL_INTEGERS):
        return False  # no floats, or parts of a block format: scales, and pairs of codes, mean nothing on their own
    return dtype in (*_SMALL_FLOATS, "bfloat16", "complex32") or _kind(dtype) in "fc"


def widen(raw: npt.NDArray[np.uint8], dtype: str) -> Values:
    """The items in `raw` as float64 or complex128, `(items,)`; two for each byte of `float4_e2m1fn_x2`."""
    with np.errstate(all="ignore"):
        if dtype == "bfloat16":
            return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        if dtype in _IN_A_TABLE:
            return _table(dtype)[raw].reshape(-1)
        if dtype == "complex32":
            return raw.view("<f2").astype(np.float64).view(np.complex128)
        items = raw.view(dtypes.to_numpy(dtype))
        return items.astype(np.complex128 if items.dtype.kind == "c" else np.float64)


def narrow(values: Values, dtype: str) -> npt.NDArray[np.uint8]:
    """The bytes of `values` (float64 or complex128) as items of a floating type, each rounded once.

    A float of at most eight bits that would be too large becomes the largest; so does NaN where the type has none.
    """
    with np.errstate(all="ignore"):
        if dtype == "bfloat16":
            return _to_bfloat16(values).view(np.uint8)
        if dtype in _SMALL_FLOATS:
            return _nearest(values, dtype)
        if dtype == "complex32":
            return values.astype(np.complex128).view(np.float64).astype("<f2").view(np.uint8)
        return values.astype(dtypes.to_numpy(dtype)).view(np.uint8)


def _kind(dtype: str) -> str:
    try:
        return dtypes.to_numpy(dtype).kind
    except ValueError:
        return "?"


@cache
def _table(dtype: str) -> Values:
    """What each byte stands for; bits above an item's own are disregarded."""
    code = np.arange(256)
    if (bits := dtypes.SMALL_INTEGERS.get(dtype)) is not None:
        low = code & (2**bits - 1)
        return np.where(dtype.startswith("i") & (low >> (bits - 1) == 1), low - 2**bits, low).astype(
            np.float64
        )
    if dtype == "float8_e8m0fnu":
        return np.where(code == 255, np.nan, 2.0 ** (code - 127.0))
    if dtype == "float4_e2m1fn_x2":
        half = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        nibble = np.concatenate([half, -half])
        return np.stack([nibble[code & 15], nibble[code >> 4]], axis=1)
    exponent_bits, mantissa_bits, bias, special = _SMALL_FLOATS[dtype]
    sign = 1 << (exponent_bits + mantissa_bits)
    exponent = (code >> mantissa_bits) & (2**exponent_bits - 1)
    mantissa = (code & (2**mantissa_bits - 1)) / 2**mantissa_bits
    size = np.where(
        exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent - float(bias))
    )
    if special == "last is nan":
        size[code & (sign - 1) == sign - 1] = np.nan
    elif special == "ieee":
        top = exponent == 2**exponent_bits - 1
        size[top] = np.where(mantissa[top] == 0, np.inf, np.nan)
    values = np.where(code & sign, -size, size)
    if special == "minus zero is nan":
        values[sign] = np.nan
    return values


def _nearest(values: Values, dtype: str) -> npt.NDArray[np.uint8]:
    exponent_bits, mantissa_bits, *_ = _SMALL_FLOATS[dtype]
    sign = 1 << (exponent_bits + mantissa_bits)
    sizes = _table(dtype)[:sign]
    finite = sizes[np.isfinite(sizes)]
    size = np.abs(values)
    above = np.clip(np.searchsorted(finite, size), 1, len(finite) - 1)
    low, high = size - finite[above - 1], finite[above] - size
    code = np.where((low < high) | ((low == high) & (above % 2 == 1)), above - 1, above)
    if np.isinf(sizes).any():
        code[np.isinf(values)] = np.flatnonzero(np.isinf(sizes))[0]
    negative = np.signbit(values)
    if dtype.endswith("fnuz"):
        negative &= code > 0
    code = np.where(negative, code + sign, code)
    nans = np.flatnonzero(np.isnan(_table(dtype)))
    code[np.isnan(values)] = nans[0] if nans.size else sign - 1
    return code.astype(np.uint8)


def _to_bfloat16(values: Values) -> npt.NDArray[np.uint16]:
    # By way of a float32 that is rounded to odd, so that the second rounding cannot add to the first
    # (S. Boldo and G. Melquiond, IEEE Trans. Computers 57(4), 2008).
    single = values.astype(np.float32)
    too_large = np.abs(single) > np.abs(values)
    toward_zero = np.where(too_large, np.nextafter(single, np.float32(0)), single)
    bits = toward_zero.view(np.uint32)
    bits = bits | (toward_zero.astype(np.float64) != values).astype(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype("<u2")


_LARGEST_FINITE = {  # of the formats in which all that is greater is no number: (bits without sign, of an item)
    "bfloat16": (0x7F7F, 2),
    "float8_e4m3fn": (0x7E, 1),
    "float8_e5m2": (0x7B, 1),
}
_IEEE = {2: 0x7BFF, 4: 0x7F7F_FFFF, 8: 0x7FEF_FFFF_FFFF_FFFF}


def all_finite(raw: npt.NDArray[np.uint8], dtype: str) -> bool:
    """Whether no item in `raw`, of a floating type (see `is_floating`), is NaN or infinite.

    Above the largest finite number come, in the order of bits as integers, infinity and the NaNs: two greatest values
    (of signed integers for what is positive, of unsigned ones for the rest) decide, and nothing is widened or copied.
    """
    largest, size = _bits(dtype)
    if largest is None:
        return bool(np.isfinite(widen(raw, dtype)).all())
    if not raw.size:
        return True
    sign = 1 << (8 * size - 1)
    positive = int(raw.view(f"<i{size}").max()) <= largest
    return positive and int(raw.view(f"<u{size}").max()) <= sign | largest


def count_nonfinite(raw: npt.NDArray[np.uint8], dtype: str) -> tuple[int, int]:
    """How many items of a floating type are NaN, and how many are infinite; of a complex item either part counts."""
    nans = infs = 0
    block = _BLOCK_BYTES - _BLOCK_BYTES % dtypes.item_size(dtype)
    for start in range(0, raw.size, block):
        values = widen(raw[start : start + block], dtype)
        nans += int(np.count_nonzero(np.isnan(values)))
        infs += int(np.count_nonzero(np.isinf(values)))
    return nans, infs


_BLOCK_BYTES = 1 << 19


@cache
def _bits(dtype: str) -> tuple[int | None, int]:
    """The largest finite number as bits without the sign, and the bytes of a real item; None if that is not all."""
    if dtype in _LARGEST_FINITE:
        return _LARGEST_FINITE[dtype]
    if dtype == "complex32":
        return _IEEE[2], 2
    if dtype in _IN_A_TABLE or not dtypes.to_numpy(dtype).isnative:
        return None, 0
    items = dtypes.to_numpy(dtype)
    size = items.itemsize // (2 if items.kind == "c" else 1)
    return _IEEE.get(size), size
