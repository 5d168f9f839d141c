"""What is to be seen of an object that is no variable of the script's own: by a bounded walk through what it holds."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping
from functools import cached_property
from types import FunctionType
from typing import Any, Final

from .._handed import Handed
from .._kinds import (
    CONTAINERS,
    SCALARS,
    attributes,
    is_array,
    is_data,
    is_ignored,
    is_module,
)
from .._marks import Marks
from .moving import NOT_MOVING, place_of

_DEEPEST: Final = 4
_MOST_PARTS: Final = 500
_MOST_ITEMS: Final = 100
_MOST_BYTES: Final = 8 << 20
_SHALLOW: Final = ("torch.utils.data", "torch.optim", "datasets", "torchvision.datasets")


class _Elsewhere:
    """Stands for what is saved elsewhere: equal to whatever it was."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ELSEWHERE: Final = _Elsewhere()


class Looks:
    """One look at one object.

    Args:
        known: the ids of what is saved, or named, by another name.
    """

    def __init__(self, marks: Marks, name: str, handed: Handed, known: Container[int]) -> None:
        self._marks, self._name, self._handed, self._known = marks, name, handed, known
        self._met: dict[int, int] = {}
        self._open: list[Any] = []  # keeps what was met alive, so that ids stay their own
        self._parts, self._bytes = _MOST_PARTS, _MOST_BYTES

    def of(self, value: Any) -> Hashable | None:
        """What is equal as long as nothing that can be seen of `value` changes; None if nothing can be seen of it."""
        return self._inside(value, 0)

    def _part(self, value: Any, depth: int) -> Hashable | None:
        kind = type(value)
        if kind in SCALARS:
            return self._marks.of(value, self._name)
        self._parts -= 1
        if self._parts < 0:
            return kind
        is_known = id(value) in self._known or self._handed.holds(value)
        if is_known or (is_array(value) and self._handed.shares_memory(value)):
            return ELSEWHERE
        if id(value) in self._met:
            return "again", self._met[id(value)]
        self._meet(value)
        if is_array(value):
            self._bytes -= value.nbytes
            return self._marks.of(value, self._name) if self._bytes >= 0 else (kind, tuple(value.shape))
        if is_data(value) and not isinstance(value, CONTAINERS):
            return self._marks.of(value, self._name)
        return self._inside(value, depth)

    def _inside(self, value: Any, depth: int) -> Hashable | None:
        kind = type(value)
        if depth == 0:
            self._meet(value)
        if isinstance(value, CONTAINERS):
            return self._items(value, depth)
        if is_ignored(value):
            return kind
        place = place_of(value, lambda part, _: self._part(part, depth + 1))
        if place is not NOT_MOVING:
            return None if place is None else (kind, place)
        if is_module(value):
            return self._marks.of_state(value, self._name)
        if depth > _DEEPEST:
            return kind
        found = _attributes(value)
        if found or hasattr(value, "__dict__"):
            is_shallow = kind.__module__.startswith(_SHALLOW)
            parts = {name: each for name, each in found.items() if type(each) in SCALARS or not is_shallow}
            return self._named(kind, parts, depth)
        taken = _reduced(value)
        if taken is None:
            return kind if depth else None  # a part that shows nothing does not make all of it unknown
        return kind, self._part(taken, depth + 1)

    def _items(self, value: Any, depth: int) -> Hashable | None:
        kind, length = type(value), len(value)
        if is_data(value) and not any(id(each) in self._known for each in _some(value)):
            arrays = sum(each.nbytes for each in _some(value) if is_array(each))
            if arrays <= self._bytes and not self._handed.shares_memory(value):
                self._bytes -= arrays
                return self._marks.of(value, self._name)
        if depth > _DEEPEST:
            return kind, length
        if isinstance(value, set | frozenset):
            return kind, length
        if isinstance(value, Mapping):
            items = [(repr(key)[:80] if type(key) in SCALARS else "", each) for key, each in value.items()]
            return self._named(kind, items[:_MOST_ITEMS], depth, length)
        return self._named(kind, [("", each) for each in _some(value)], depth, length)

    def _named(self, kind: type, parts: Any, depth: int, length: int = 0) -> Hashable | None:
        pairs = list(parts.items()) if isinstance(parts, Mapping) else parts
        found = [(name, self._part(each, depth + 1)) for name, each in pairs]
        return None if any(mark is None for _, mark in found) else (kind, length, tuple(found))

    def _meet(self, value: Any) -> None:
        self._met[id(value)] = len(self._met)
        self._open.append(value)


def _some(value: Any) -> list[Any]:
    """The first items of a container, and the last."""
    items = list(value.values() if isinstance(value, Mapping) else value)
    half = _MOST_ITEMS // 2
    return items if len(items) <= _MOST_ITEMS else [*items[:half], *items[-half:]]


def _attributes(value: Any) -> dict[str, Any]:
    """Without what a class keeps of an answer that it gave before."""
    kept = {
        name
        for base in type(value).__mro__
        for name, each in vars(base).items()
        if isinstance(each, cached_property)
    }
    found = attributes(value)
    return {name: found[name] for name in sorted(found) if name not in kept}


def _reduced(value: Any) -> Any:
    """What an object of compiled code gives to be copied: None if it refuses. Python code of its class is not run for this."""
    kind = type(value)
    for name in ("__reduce_ex__", "__reduce__", "__getstate__"):
        if isinstance(getattr(kind, name, None), FunctionType):
            return None
    try:
        taken = value.__reduce_ex__(2)
    except Exception:
        return None
    if isinstance(taken, str):
        return taken
    parts = [each for each in taken[1:3] if not isinstance(each, Callable)]
    return parts
