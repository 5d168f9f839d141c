"""Numbers in JSON, each of which is read back exactly.

Floats that JSON lacks (NaN, infinities, −0.0) are written by their bits, integers beyond 63 bits by their
decimal digits: up to `MAX_DIGITS`, because converting them takes more than linear time.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

MAX_DIGITS = 200_000  # a fifth of a second
CHUNK_DIGITS = 4000  # what int() and str() convert without complaint
_INTEGER = re.compile(r"-?[1-9][0-9]*")
_BITS = re.compile(r"[0-9a-f]{16}")


def encode_float(value: float) -> float | dict[str, str]:
    """A JSON number, or `{"f": bits}` for NaN, infinities and −0.0."""
    if math.isfinite(value) and (value != 0 or math.copysign(1, value) > 0):
        return float(value)
    return {"f": struct.pack(">d", value).hex()}


def encode_integer(value: int) -> int | dict[str, str]:
    """A JSON number, or `{"i": digits}` beyond 63 bits; ValueError if readers would refuse it."""
    if -(1 << 63) <= value < 1 << 63:
        return int(value)
    if value.bit_length() > MAX_DIGITS * 3.3219:  # bits of a digit
        raise ValueError(f"an integer has more than {MAX_DIGITS:,} digits; put large ones into bytes")
    sign = "-" if value < 0 else ""
    return {"i": sign + _digits(abs(value))}


def decode_integer(digits: Any) -> int:
    """Inverse of `encode_integer` for what is beyond 63 bits; ValueError for anything else."""
    if type(digits) is not str or len(digits) > MAX_DIGITS + 1 or not _INTEGER.fullmatch(digits):
        raise ValueError("an integer's digits were expected")
    value = -_from_digits(digits[1:]) if digits.startswith("-") else _from_digits(digits)
    if -(1 << 63) <= value < 1 << 63:
        raise ValueError("a small integer written as a large one")
    return value


def decode_float(node: Any) -> float:
    """Inverse of `encode_float`; ValueError for anything else."""
    if type(node) is float:
        return node
    if type(node) is dict and node.keys() == {"f"}:
        return from_bits(node["f"])
    raise ValueError("a float was expected")


def from_bits(bits: Any) -> float:
    if type(bits) is not str or not _BITS.fullmatch(bits):
        raise ValueError("a float's bits are 16 hex digits")
    return struct.unpack(">d", bytes.fromhex(bits))[0]


def _digits(value: int) -> str:
    """The decimal digits of a non-negative integer, by halves."""
    if value < 10**CHUNK_DIGITS:
        return str(value)
    half = int(value.bit_length() * 0.30103) // 2
    high, low = divmod(value, 10**half)
    return _digits(high) + _digits(low).rjust(half, "0")


def _from_digits(digits: str) -> int:
    if len(digits) <= CHUNK_DIGITS:
        return int(digits)
    half = len(digits) // 2
    return _from_digits(digits[:-half]) * 10**half + _from_digits(digits[-half:])
