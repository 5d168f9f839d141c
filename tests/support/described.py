"""A value as plain JSON, to the bit: what golden bundles are compared by. Knows nothing of Holdfast."""

from __future__ import annotations

import collections
import hashlib
import random
from typing import Any

import numpy as np
import torch


def described(value: Any) -> Any:
    """Types, order, bits of floats, and SHA-256 of arrays' bytes in C order."""
    match value:
        case None | bool() | str():
            return (
                value if not isinstance(value, str) else {"str": value.encode("utf-8", "surrogatepass").hex()}
            )
        case int():
            return {"int": hex(value)}
        case float() if not isinstance(value, np.generic):
            return {"float": "nan" if value != value else value.hex()}
        case complex() if not isinstance(value, np.generic):
            return {"complex": [described(value.real), described(value.imag)]}
        case bytes() | bytearray() if not isinstance(value, np.generic):
            return {type(value).__name__: value.hex()}
        case collections.deque():
            return {"deque": [*map(described, value)], "maxlen": value.maxlen}
        case dict():
            pairs = [[described(key), described(entry)] for key, entry in value.items()]
            return {type(value).__name__: pairs}
        case list() | tuple():
            return {type(value).__name__: [*map(described, value)]}
        case set() | frozenset():
            return {type(value).__name__: sorted(map(described, value), key=repr)}
        case torch.Tensor():
            data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return _array("torch", str(value.dtype), value.shape, data, value.is_contiguous())
        case np.ndarray() | np.generic():
            kind = "scalar" if isinstance(value, np.generic) else "numpy"
            order = value.flags.c_contiguous or not value.flags.f_contiguous
            return _array(kind, np.lib.format.dtype_to_descr(value.dtype) if value.dtype.names else value.dtype.name
                          if value.dtype.kind == "V" else value.dtype.str, value.shape, value.tobytes(), order)  # fmt: skip
        case np.random.Generator():
            return {"generator": described(value.bit_generator.state)}
        case random.Random():
            return {"random": hashlib.sha256(repr(value.getstate()).encode()).hexdigest()}
        case torch.Generator():
            return {"torch.Generator": described(value.get_state())}
    return {type(value).__name__: str(value)}


def _array(kind: str, dtype: Any, shape: Any, data: bytes, is_c_ordered: bool) -> Any:
    return {kind: [repr(dtype), list(shape), hashlib.sha256(data).hexdigest(), "C" if is_c_ordered else "F"]}
