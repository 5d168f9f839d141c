"""Objects that stand at two places of what was handed over: one object when it was saved is one again after a resume."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

_DEEPEST: Final = 6
_MOST_ITEMS: Final = 1_000  # of a container; more are data
Place = list[str | int]
"""The names and indices that lead to an object."""


def ties(objects: Mapping[str, Any]) -> list[list[Place]]:
    """Pairs of places at which the same object stands that can change: the first, and another."""
    first: dict[int, Place] = {}
    found: list[list[Place]] = []
    for place, value in _places(objects, [], 0):
        known = first.setdefault(id(value), place)
        if known is not place:
            found.append([known, place])
    return found


def tie(objects: Any, saved: Any) -> None:
    """Put at each second place the object of the first one, where the two are not one already."""
    for one, other in saved or ():
        value = _at(objects, one)
        holder = _at(objects, other[:-1])
        if (
            value is not None
            and isinstance(holder, dict | list)
            and (there := _at(objects, other)) is not value
            and type(there) is type(value)
        ):
            holder[other[-1]] = value


def _places(holder: Any, place: Place, depth: int) -> Iterator[tuple[Place, Any]]:
    items = holder.items() if isinstance(holder, Mapping) else enumerate(holder)
    for key, value in list(items) if len(holder) <= _MOST_ITEMS else ():
        if not isinstance(key, str | int) or isinstance(key, bool):
            continue
        here = [*place, key]
        if _can_change(value):
            yield here, value
        if isinstance(value, dict | list | tuple) and depth < _DEEPEST:
            yield from _places(value, here, depth + 1)


def _can_change(value: Any) -> bool:
    """A container, or an array that is written in place; of all else only the script knows what makes it one."""
    torch: Any = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(value, torch.Tensor)
    return is_tensor or isinstance(value, dict | list | set | deque | np.ndarray)


def _at(value: Any, place: Place) -> Any:
    """What is there; None where there is nothing."""
    for key in place:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value
