"""What the run holds already: objects that were handed over, and the memory of their arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..state import Attributes
from ._kinds import CONTAINERS, is_array, is_module, is_tensor, saved_with_keras, torch, values_of
from ._marks import Marks
from ._shared.memory import address, addresses, form
from ._shared.places import has_groups

_DEEPEST = 6


class Handed:
    """Objects of a run, as they are now, and others that it has to do with (`others`), such as its data.

    Attributes:
        objects: those of the run, by name.
    """

    def __init__(self, objects: Mapping[str, Any], others: Iterable[Any]) -> None:
        self.objects = objects
        self._objects = list(objects.values())
        self._others = list(others)

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of the objects, or a part of one that is saved with it."""
        return id(value) in self._ids

    def shares_memory(self, value: Any) -> bool:
        """Whether any array in `value`, which is data, lies in memory of an object that was handed over."""
        return any(map(self.has_memory_of, _arrays(value)))

    @property
    def has_containers(self) -> bool:
        """Whether some of them are lists, dicts and the like."""
        return any(isinstance(each, CONTAINERS) for each in self.objects.values())

    def has_memory_of(self, array: Any) -> bool:
        """Whether this array lies in memory of an object that was handed over."""
        return (at := address(array)) is not None and at in self._addresses

    def form_of(self, value: Any, marks: Marks, name: str) -> Hashable:
        """The mark of data that share memory with these objects: of such arrays where they lie, which is all that they are."""
        if is_array(value) and self.has_memory_of(value):
            return form(value)
        if isinstance(value, CONTAINERS):
            keys = tuple(value) if isinstance(value, Mapping) else ()
            return type(value), keys, tuple(self.form_of(each, marks, name) for each in values_of(value))
        return marks.of(value, name)

    @cached_property
    def _ids(self) -> set[int]:
        found = {id(self), id(self.objects), *map(id, self._others)}
        for each in self._objects:
            found |= set(map(id, _parts(each)))
        return found

    @cached_property
    def _addresses(self) -> set[int]:
        return addresses(array for each in self._objects for array in _arrays_held_by(each))


def _parts(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, int | float | str | bytes | None):  # one and the same object may be many values
        return
    yield value
    yield from saved_with_keras(value)
    if isinstance(value, Attributes):
        for each in value.held():
            if not isinstance(each, CONTAINERS):
                yield from _parts(each)
            else:
                yield each
    elif is_module(value):
        for each in value.modules():  # in one walk; `parameters` would make another
            yield each
            yield from (parameter for parameter in each._parameters.values() if parameter is not None)
    elif isinstance(value, CONTAINERS) and depth < _DEEPEST and len(value) <= 1000:
        for each in values_of(value):
            yield from _parts(each, depth + 1)


def _arrays_held_by(value: Any) -> Iterator[Any]:
    if isinstance(value, Attributes):
        for each in value.held():
            if not isinstance(each, CONTAINERS):
                yield from _arrays_held_by(each)
    elif is_module(value):
        for each in value.modules():
            yield from each._parameters.values()
            yield from each._buffers.values()
    elif (
        not isinstance(value, CONTAINERS)
        and has_groups(value)
        and isinstance(getattr(value, "state", None), Mapping)
    ):
        # Of an optimizer, most of whose state is tensors; its parameters are somebody else's.
        tensor = getattr(torch(), "Tensor", None)
        for state in value.state.values():
            is_flat = type(state) is dict and {*map(type, state.values())} == {tensor}
            yield from state.values() if is_flat else _arrays(state)
    else:
        yield from _arrays(value)


def _arrays(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, np.ndarray) or is_tensor(value):
        yield value
    elif isinstance(value, (Mapping, *CONTAINERS)) and depth < _DEEPEST:
        for each in values_of(value):
            yield from _arrays(each, depth + 1)
