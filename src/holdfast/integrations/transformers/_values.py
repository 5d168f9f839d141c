"""Data of any nesting that others keep: compared, saved and put back, containers as the same objects."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch

UNKNOWN: Final = object()
"""Stands for what is no data."""
MISSING: Final = object()

TIMES: Final = ("_runtime", "_per_second", "step_time")  # the last is of TRL
"""How names end of what says how long something took."""

_SCALARS: Final = (bool, int, float, complex, str, bytes, type(None))
_DICTS: Final = (dict, defaultdict, OrderedDict, Counter)
_MOST_ITEMS: Final = 100_000  # more are a data set
_ON_DEVICE: Final = "holdfast: on the device"
_ELEMENTS: Final = 1 << 20  # looked at together


def plain(value: Any) -> Any:
    """`value` as standard containers of scalars and arrays; parameters, which others train, as None. `UNKNOWN` if it is no data."""
    room = [_MOST_ITEMS]

    def taken(value: Any) -> Any:
        kind = type(value)
        if kind in _SCALARS or isinstance(value, np.generic):
            return value
        if isinstance(value, torch.nn.Parameter):
            return None
        if kind is torch.Tensor and value.layout == torch.strided:
            value = value.detach()
            return value if value.device.type == "cpu" else {_ON_DEVICE: value}
        if kind is np.ndarray:
            return UNKNOWN if value.dtype.hasobject else value
        if kind not in (*_DICTS, list, tuple, deque, set, frozenset):
            return UNKNOWN
        room[0] -= len(value)
        if room[0] < 0:
            return UNKNOWN
        if kind in _DICTS:
            if not all(type(key) in (str, int, float, bool) for key in value):
                return UNKNOWN
            entries = {key: taken(each) for key, each in value.items()}
            return UNKNOWN if any(each is UNKNOWN for each in entries.values()) else entries
        if kind in (set, frozenset):
            return kind(value) if all(type(each) in _SCALARS for each in value) else UNKNOWN
        items = [taken(each) for each in value]
        if any(each is UNKNOWN for each in items):
            return UNKNOWN
        return deque(items, value.maxlen) if kind is deque else tuple(items) if kind is tuple else items

    return taken(value)


def put_into(live: Any, saved: Any, device: torch.device) -> Any:
    """What takes the place of `live`: itself, with the saved items, where it is a container that can change."""
    if isinstance(live, torch.nn.Parameter):
        return live
    if isinstance(saved, Mapping):
        if list(saved) == [_ON_DEVICE]:
            return torch.as_tensor(saved[_ON_DEVICE]).clone().to(device)
        target: Any = live if type(live) in _DICTS else {}
        before: dict[Any, Any] = dict(target)
        make = getattr(target, "default_factory", None) or (lambda: None)
        target.clear()
        for key, each in saved.items():
            target[key] = put_into(before[key] if key in before else make(), each, device)
        return target
    if isinstance(saved, list | tuple | deque):
        is_alike = isinstance(live, list | tuple | deque) and len(live) == len(saved)
        olds = list(live) if is_alike else [None] * len(saved)
        items = [put_into(old, each, device) for old, each in zip(olds, saved, strict=True)]
        if isinstance(live, list | deque) and type(live) is type(saved):
            live.clear()
            live.extend(items)
            return live
        return deque(items, saved.maxlen) if isinstance(saved, deque) else type(saved)(items)
    if isinstance(saved, torch.Tensor):
        return saved.clone()
    return saved.copy() if isinstance(saved, np.ndarray | set) else saved


def without(endings: tuple[str, ...], values: Any) -> Any:
    """Plain data without the entries of dicts whose names end so."""
    if not isinstance(values, dict):
        return values
    return {
        key: without(endings, each)
        for key, each in values.items()
        if not (isinstance(key, str) and key.endswith(endings))
    }


def form_of(value: Any) -> Any:
    """Something to compare `value` by, arrays by what is in them."""
    kind = type(value)
    if isinstance(value, torch.Tensor):
        return "tensor", checksum([value])
    if isinstance(value, np.ndarray):
        return (
            value.dtype.str,
            value.shape,
            hashlib.blake2b(np.ascontiguousarray(value).tobytes()).hexdigest(),
        )
    if kind in _DICTS:
        return "dict", tuple((repr(key), form_of(each)) for key, each in value.items())
    if kind in (list, tuple, deque):
        return kind.__name__, tuple(map(form_of, value))
    if kind in (set, frozenset):
        return kind.__name__, frozenset(map(repr, value))
    return kind.__name__, repr(value)


def checksum(tensors: Any) -> str:
    """Of all bits of the tensors in a container, computed where they are.

    An average of weights is often updated through `.data`, which raises no version counter.
    """
    found = hashlib.blake2b(digest_size=16)
    items = tensors.items() if isinstance(tensors, Mapping) else enumerate(tensors)
    for key, each in items:
        found.update(repr(key).encode())
        if isinstance(each, torch.Tensor):
            found.update(repr((str(each.dtype), tuple(each.shape), _sum_of(each.detach()))).encode())
        else:
            found.update(repr(each).encode())
    return found.hexdigest()


def _sum_of(tensor: torch.Tensor) -> Any:
    if tensor.layout != torch.strided or tensor.is_meta:
        return id(tensor), tensor._version
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    if flat.device.type == "cpu":
        return hashlib.blake2b(flat.numpy().data, digest_size=16).hexdigest()
    if flat.numel() % 4 == 0:
        flat = flat.view(torch.int32)
    weights = torch.arange(1, _ELEMENTS + 1, device=flat.device)
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    for part in flat.split(_ELEMENTS):
        total = total * 31 + (part.to(torch.int64) * weights[: part.numel()]).sum()
    return int(total)
