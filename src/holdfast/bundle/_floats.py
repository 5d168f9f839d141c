"""Floats in JSON: finite ones as numbers, the rest by their bits, so that every float comes back exactly."""

from __future__ import annotations

import math
import re
import struct
from typing import Any

_BITS = re.compile(r"[0-9a-f]{16}")


def encode_float(value: float) -> float | dict[str, str]:
    """A JSON number, or `{"f": bits}` for NaN, infinities and −0.0."""
    if math.isfinite(value) and (value != 0 or math.copysign(1, value) > 0):
        return float(value)
    return {"f": struct.pack(">d", value).hex()}


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
