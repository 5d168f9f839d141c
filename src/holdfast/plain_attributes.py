"""Attributes of live objects that are plain data: which of them have changed, and putting them back.

A counter that a module, a sampler or a dataset keeps for itself stands in no `state_dict`. Only what has changed since
a training began is part of its state: the rest is the script's, and a script that is changed must win.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from types import CellType
from typing import Any, Final, final

import numpy as np

_SCALARS: Final = (bool, int, float, complex, str, bytes, type(None))
_SEQUENCES: Final = (list, tuple, deque)
_SETS: Final = (set, frozenset)
_MOST_ITEMS: Final = 1_000  # of a container, all levels together; more are data
_LONGEST_TEXT: Final = 100_000
_LARGEST_ARRAY: Final = 16 << 20  # in bytes; a larger one is data
_NONE: Final = object()


@final
class Cells(MutableMapping[str, Any]):
    """The variables that a function closes over, as attributes of an owner."""

    def __init__(self, cells: Mapping[str, CellType]) -> None:
        self._cells = cells

    def __getitem__(self, name: str) -> Any:
        try:
            return self._cells[name].cell_contents
        except ValueError:  # not assigned yet
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        self._cells[name].cell_contents = value

    def __delitem__(self, name: str) -> None:
        raise TypeError("a variable stays one")

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._cells if name in self)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not _NONE
        except KeyError:
            return False

    def __len__(self) -> int:
        return sum(1 for _ in self)


@final
class PlainAttributes:
    """The plain attributes of `owners`, by name, as they are now; what `get_state` gives is what changes from here on.

    Args:
        owners: objects with attributes, and `Cells`.
        but: names of attributes that are somebody else's.
        takes_tensors: whether tensors of torch count too.
    """

    def __init__(
        self, owners: Mapping[str, Any], but: Collection[str] = (), *, takes_tensors: bool = False
    ) -> None:
        self._owners, self._but, self._takes_tensors = dict(owners), frozenset(but), takes_tensors
        self._at_first = self.all()

    def all(self, of: Callable[[Any], bool] = lambda owner: True) -> dict[str, dict[str, Any]]:
        """Copies of all, by owner and name of the attribute; `of` these owners."""
        return {
            name: {
                attribute: copied
                for attribute, value in _attributes(owner)
                if attribute not in self._but and (copied := self._copied(value)) is not _NONE
            }
            for name, owner in self._owners.items()
            if of(owner)
        }

    def get_state(self) -> dict[str, dict[str, Any]]:
        """Copies of those that have changed."""
        unlike = {
            name: {
                attribute: copied
                for attribute, value in _attributes(owner)
                if attribute not in self._but
                and not _is_still(first.get(attribute, _NONE), value)
                and (copied := self._copied(value)) is not _NONE
            }
            for name, owner in self._owners.items()
            for first in (self._at_first.get(name, {}),)
        }
        return different(unlike, self._at_first)

    def follow(self, owners: Mapping[str, Any]) -> None:
        """These are the owners now; what is new among them was not there at first."""
        self._owners = dict(owners)

    def put(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Put these back, where their owners are here; lists, dicts and arrays stay the same objects."""
        for name, attributes in saved.items():
            if (owner := self._owners.get(name)) is not None:
                for attribute, value in attributes.items():
                    if not isinstance(owner, Cells) or attribute in owner:
                        _put(_namespace(owner), attribute, self._copied(value))

    def set_state(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Let these be all that has changed."""
        self.put(different(self._at_first, self.all()))
        self.put(saved)

    def missing(self, saved: Mapping[str, Any]) -> list[str]:
        """The owners among these that are not here."""
        return [name for name in saved if name not in self._owners]

    def _copied(self, value: Any) -> Any:
        return _copied(value, takes_tensors=self._takes_tensors)


def slots_of(kind: type) -> list[str]:
    """The names of a class's own slots, as they are read from outside: those that begin with two underscores have the class's before them."""
    slots = vars(kind).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [f"_{kind.__name__.lstrip('_')}{name}" if _is_private(name) else name for name in names]


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


def is_plain(value: Any) -> bool:
    """Whether a value counts as plain data where no tensors do; True of one that holds none."""
    return _copied(value, takes_tensors=False) is not _NONE


def different(
    these: Mapping[str, Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Of `these` attributes those that are not the same in `others`."""
    found = {
        name: {
            attribute: value
            for attribute, value in attributes.items()
            if attribute not in others.get(name, {}) or not _are_same(others[name][attribute], value)
        }
        for name, attributes in these.items()
    }
    return {name: attributes for name, attributes in found.items() if attributes}


def _is_still(first: Any, value: Any) -> bool:
    """Whether a value is what it was, where that is told without a copy; False for all else."""
    if type(value) in _SCALARS:
        return value is first
    is_array = isinstance(value, np.ndarray) or _is_tensor(value)
    return is_array and _are_same(first, value)


def _namespace(owner: Any) -> MutableMapping[str, Any]:
    return owner if isinstance(owner, Cells) else vars(owner)


def _attributes(owner: Any) -> list[tuple[str, Any]]:
    return list(_namespace(owner).items())


def _is_tensor(value: Any) -> bool:
    torch: Any = sys.modules.get("torch")
    return torch is not None and type(value) is torch.Tensor


def _copied(value: Any, *, takes_tensors: bool) -> Any:
    """A copy that shares nothing that can change; `_NONE` if it is not plain, or too large."""
    room = [_MOST_ITEMS]

    def copied(value: Any) -> Any:
        if type(value) in _SCALARS:
            return value if not isinstance(value, str | bytes) or len(value) <= _LONGEST_TEXT else _NONE
        if isinstance(value, np.generic):
            return value
        if type(value) is np.ndarray:
            is_plain = not value.dtype.hasobject and value.nbytes <= _LARGEST_ARRAY
            return value.copy(order="K") if is_plain else _NONE
        if takes_tensors and _is_tensor(value):
            is_plain = value.device.type == "cpu" and str(value.layout) == "torch.strided" and value.is_leaf
            is_small = is_plain and value.numel() * value.element_size() <= _LARGEST_ARRAY
            return value.detach().clone() if is_small else _NONE
        if type(value) not in (*_SEQUENCES, *_SETS, dict):
            return _NONE
        room[0] -= len(value)
        if room[0] < 0:
            return _NONE
        if type(value) is dict:
            if not all(type(key) in (str, int, float, bool) for key in value):
                return _NONE
            entries = {key: copied(each) for key, each in value.items()}
            return _NONE if any(each is _NONE for each in entries.values()) else entries
        if type(value) in _SETS:
            return type(value)(value) if all(type(each) in _SCALARS for each in value) else _NONE
        items = [copied(each) for each in value]
        if any(each is _NONE for each in items):
            return _NONE
        return deque(items, value.maxlen) if type(value) is deque else type(value)(items)

    return copied(value)


def _are_same(one: Any, other: Any) -> bool:
    """Whether two copies hold the same, in the same types; arrays bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) or _is_tensor(one):
        is_alike = (one.dtype, one.shape) == (other.dtype, other.shape)
        return is_alike and np.array_equal(_bytes(one), _bytes(other))
    if type(one) in _SEQUENCES:
        return len(one) == len(other) and all(map(_are_same, one, other))
    if type(one) is dict:
        return list(one) == list(other) and all(map(_are_same, one.values(), other.values()))
    return one == other if type(one) in _SETS else repr(one) == repr(other)


def _bytes(array: Any) -> np.ndarray:
    if _is_tensor(array):
        return array.detach().contiguous().reshape(-1).view(sys.modules["torch"].uint8).numpy()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _put(namespace: MutableMapping[str, Any], attribute: str, value: Any) -> None:
    live: Any = namespace.get(attribute)
    if type(live) is not type(value):
        namespace[attribute] = value
    elif type(live) is list:
        live[:] = value
    elif type(live) in (dict, set):
        live.clear()
        live.update(value)
    elif type(live) is deque and live.maxlen == value.maxlen:
        live.clear()
        live.extend(value)
    elif isinstance(live, np.ndarray) and (live.dtype, live.shape) == (value.dtype, value.shape):
        if live.flags.writeable:
            live[...] = value
        else:
            namespace[attribute] = value
    elif _is_tensor(live):
        _put_tensor(namespace, attribute, live, value)
    else:
        namespace[attribute] = value


def _put_tensor(namespace: MutableMapping[str, Any], attribute: str, live: Any, value: Any) -> None:
    if (live.dtype, live.shape) == (value.dtype, value.shape):
        live.detach().copy_(value)
    else:
        namespace[attribute] = value
