"""A digest of what objects in memory hold, without calling any code of a script's."""

from __future__ import annotations

import struct
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from blake3 import blake3

_MOST_BYTES = 256 << 20
_MOST_OBJECTS = 1_000_000
_WORD = struct.calcsize("P")
_SCALARS = (type(None), bool, int, float, complex, str, bytes)


def digest_of_contents(value: Any) -> str:
    """BLAKE3 of the arrays, tensors and plain data in containers, and in attributes of objects, at any depth.

    At most the first 256 MiB of them, and a million objects. Functions, classes, and what only a library's code can read count for
    nothing. Objects that are met again are not looked at again.
    """
    return _digest(value)[0]


def digest_of_batch(batch: Any) -> str | None:
    """As `digest_of_contents`; None where something in it is not read, so that another batch might have the same."""
    digest, is_complete = _digest(batch)
    return digest if is_complete else None


def _digest(value: Any) -> tuple[str, bool]:
    """And whether all of it was read."""
    digest, left, is_complete = blake3(), _MOST_BYTES, True
    waiting, seen = deque([value]), set[int]()
    while waiting and left > 0 and len(seen) < _MOST_OBJECTS:
        one = waiting.pop()
        if isinstance(one, _SCALARS):
            said = repr(one).encode()
            left -= len(said)
            digest.update(said + b";")
            continue
        if id(one) in seen:
            continue
        seen.add(id(one))
        if (array := _as_array(one)) is not None:
            left -= array.nbytes
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        elif isinstance(one, Mapping):
            waiting += [each for pair in reversed([*one.items()]) for each in reversed(pair)]
        elif isinstance(one, list | tuple | deque) or (isinstance(one, np.ndarray) and one.dtype == object):
            waiting += [len(one), *reversed([*one])]
        elif (
            not isinstance(one, type)
            and not callable(one)
            and isinstance(found := getattr(one, "__dict__", None), dict)
        ):
            waiting += [each for name in sorted(found, reverse=True) for each in (found[name], name)]
            is_complete = is_complete and _is_all_in_attributes(type(one))
        else:
            is_complete = False
    return digest.hexdigest(), is_complete and not waiting


def are_alike(one: Any, other: Any) -> bool:
    """Whether two states hold the same arrays and plain data, however their containers are shared."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(are_alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | deque) and isinstance(other, list | tuple | deque):
        return len(one) == len(other) and all(map(are_alike, one, other))
    return digest_of_contents(one) == digest_of_contents(other)


def _is_all_in_attributes(kind: type) -> bool:
    """Whether an instance has a `__dict__` and nothing else: no slots, and no memory that only a library's code can read."""
    words = 2 + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return not kind.__itemsize__ and kind.__basicsize__ <= words * _WORD


def _as_array(one: Any) -> np.ndarray[Any, Any] | None:
    """A view of an array in host memory; None for all else."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(one, torch.Tensor):
        if one.device.type != "cpu" or one.layout != torch.strided:
            return None
        plain = one.detach().resolve_conj().resolve_neg().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else np.empty(0)
    if isinstance(one, np.generic):
        one = np.asarray(one)
    return one if isinstance(one, np.ndarray) and not one.dtype.hasobject else None
