"""The values that data hold in memory, as they were when a run first saw them.

A script makes its data the same way in each of its lives, so that is what two of them have in common. What has changed by the time of
a save (a counter, a cache, memories that are collected) is not compared: if it decides anything, it is part of the state.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, NamedTuple, final

import numpy as np

from ...plain_attributes import slots_of
from .._dataset import Dataset
from .._generators import is_of_a_library
from .reading import Limits, as_array, digest_of_value, is_of_arrays, items_of
from .samples import digest_of_samples, kind_of, spread

_FULL: Final = Limits(num_places=256, block_bytes=64 << 10, num_objects=100_000, num_bytes=256 << 20)
_QUICK: Final = Limits(num_places=16, block_bytes=4 << 10, num_objects=1_000, num_bytes=1 << 20)
_MOST_OWNERS: Final = 64
_FEW: Final = 64  # items of a dict, or of an object without a length, that are settings
_LONG: Final = 256  # characters
_DAY_S: Final = 86_400


class _Seen(NamedTuple):
    digest: str
    mark: str  # of a few places, to notice that it has changed


_first: dict[int, tuple[weakref.ref[Any], Mapping[str, _Seen]]] = {}  # by the id of an owner


@final
class HeldValues:
    """What `data` (a dataset, or a list of batches) hold in memory, seen now for the first time or earlier in this process."""

    def __init__(self, data: Any) -> None:
        self._data, self._mark = data, _mark(data)
        if isinstance(data, list | tuple):
            self._digest = digest_of_samples(data)  # now: more may be appended before the first save
            self._is_known = self._digest is not None
        else:
            self._is_known = _is_of_known_kind(data)
        owners = [] if self._is_known else [*_owners(data)]
        self._owners = {path: id(each) for path, each in owners}
        self._seen = {path: _look(each) for path, each in owners}

    def facts(self) -> dict[str, Any]:
        """For `BatchSource.describe`: a digest of all samples where their kind is known, else one of each attribute.

        None of what has changed since it was first seen, and of what cannot be read.
        """
        if self._is_known:
            return {"digest": self._digest if _mark(self._data) == self._mark else None}
        now = dict(_owners(self._data))
        held = {
            f"{path}.{name}" if path else name: (
                seen.digest if self._is_still(now.get(path), path, name, seen) else None
            )
            for path, attributes in self._seen.items()
            for name, seen in attributes.items()
        }
        return {"digest": None, "attributes": held}

    def _is_still(self, owner: Any, path: str, name: str, seen: _Seen) -> bool:
        if owner is None or id(owner) != self._owners[path]:
            return False
        value = _attributes(owner).get(name, _first)
        return value is not _first and digest_of_value(value, _QUICK) == seen.mark

    @cached_property
    def _digest(self) -> str | None:
        return digest_of_samples(self._data)


def holds_samples(value: Any) -> bool:
    """Whether this is a dataset or a loader of torch."""
    torch_data: Any = sys.modules.get("torch.utils.data")
    return torch_data is not None and isinstance(value, torch_data.Dataset | torch_data.DataLoader)


def _mark(data: Any) -> str:
    """Of a few places in data of a known kind that can be written in place."""
    match kind_of(data):
        case "torch.TensorDataset":
            return digest_of_value(data.tensors, _QUICK)
        case "torch.Subset":
            return f"{digest_of_value([*data.indices], _QUICK)}{_mark(data.dataset)}"
        case "torch.ConcatDataset":
            return "".join(map(_mark, data.datasets))
    return digest_of_value(data, _QUICK) if isinstance(data, list | tuple) else ""


def _is_of_known_kind(data: Any) -> bool:
    """Whether `digest_of_samples` reads it."""
    match kind_of(data):
        case "torch.TensorDataset":
            return all(tensor.device.type == "cpu" for tensor in data.tensors)
        case "torch.Subset":
            return _is_of_known_kind(data.dataset)
        case "torch.ConcatDataset":
            return all(map(_is_of_known_kind, data.datasets))
        case "datasets.Dataset":
            return True
    return isinstance(data, Dataset) or (
        isinstance(data, list | tuple) and digest_of_samples(data) is not None
    )


def _owners(data: Any) -> Iterator[tuple[str, Any]]:
    """`data`, the datasets within them and objects of a script's own classes there, each once, by the path of attributes."""
    waiting, met = deque([("", data)] if _is_read(data) or isinstance(data, list | tuple) else []), {id(data)}
    while waiting:
        path, one = waiting.popleft()
        yield path, one
        for name, each in _attributes(one).items():
            for inner, value in _each_of(name, each):
                if len(met) < _MOST_OWNERS and id(value) not in met and _holds(value):
                    met.add(id(value))
                    waiting.append((f"{path}.{inner}" if path else inner, value))


def _each_of(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """It, or, of a short list, as a `ConcatDataset` has, its items."""
    if isinstance(value, list | tuple) and len(value) <= _MOST_OWNERS:
        yield from ((f"{name}.{index}", each) for index, each in enumerate(value))
    else:
        yield name, value


def _holds(value: Any) -> bool:
    return not isinstance(value, type) and not callable(value) and _is_read(value)


def _is_read(value: Any) -> bool:
    """Whether its attributes are: those of a script's own classes, and of map-style datasets of any library."""
    if not is_of_a_library(type(value).__module__):
        return True
    torch_data: Any = sys.modules.get("torch.utils.data")
    return (
        torch_data is not None
        and isinstance(value, torch_data.Dataset)
        and not isinstance(value, torch_data.IterableDataset)
    )


def _look(owner: Any) -> Mapping[str, _Seen]:
    """What it held when it was first seen."""
    known = _first.get(id(owner))
    if known is not None and known[0]() is owner:
        return known[1]
    seen = {
        name: _Seen(digest_of_value(value, _FULL), digest_of_value(value, _QUICK))
        for name, value in _attributes(owner).items()
        if _decides_samples(owner, value)
    }
    at = id(owner)
    with suppress(TypeError):  # such as a list: it is looked at again
        _first[at] = weakref.ref(owner, lambda _: _first.pop(at, None)), seen
    return seen


def _attributes(owner: Any) -> dict[str, Any]:
    if isinstance(owner, list | tuple):
        return {"samples": owner}
    slots = [
        name
        for kind in type(owner).__mro__
        for name in slots_of(kind)
        if name not in ("__dict__", "__weakref__") and hasattr(owner, name)
    ]
    return {**{name: getattr(owner, name) for name in slots}, **getattr(owner, "__dict__", {})}


def _decides_samples(owner: Any, value: Any) -> bool:
    """Whether it is data and no setting of a script's, which may change and leave the samples as they are.

    Numbers and words count in a dataset itself, and not in what it refers to, such as a configuration.
    """
    if isinstance(owner, list | tuple):
        return True
    is_dataset = hasattr(type(owner), "__getitem__") or hasattr(type(owner), "__iter__")
    if isinstance(value, bool | int | float | str | np.generic):
        is_text = isinstance(value, str) and len(value) > _LONG
        return is_text or (is_dataset and is_fixed(value))
    return _is_data(value, _length_of(owner))


def is_fixed(value: Any) -> bool:
    """Whether a number or word is the same in each life of a script: no path, no reading of a clock."""
    if isinstance(value, float):
        has_digits = round(value, 9) == value != round(value, 6)
        return not has_digits and not time.time() - _DAY_S < value <= time.time()
    return not isinstance(value, str) or len(value) > _LONG or os.sep not in value


def _is_data(value: Any, num_samples: int, depth: int = 3) -> bool:
    """Whether it holds arrays, or as many items as there are samples."""
    if (array := as_array(value)) is not None:
        return array.ndim > 0
    if isinstance(value, bytes | bytearray) or kind_of(value) == "datasets.Dataset" or is_of_arrays(value):
        return True
    if (items := items_of(value)) is None:
        return False
    most = max(_FEW if isinstance(value, dict) else 1, num_samples)
    inside = (items[at] for at in spread(len(items), 16))
    return len(items) >= most or (
        depth > 0 and any(_is_data(each, num_samples, depth - 1) for each in inside)
    )


def _length_of(owner: Any) -> int:
    try:
        return len(owner)
    except Exception:
        return _FEW
