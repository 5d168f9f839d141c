"""Dicts whose keys are found by their identity: parameters, players; or the `id()` of such objects.

In another process these are other objects, with other ids. So it is saved where each of them is, and a resume looks it up there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from .._kinds import is_data, is_found_by_identity, values_of
from .adapted import Adapted

BY_OBJECT: Final = "object"
BY_ID: Final = "id"
_DEEPEST: Final = 6
_LEAST_ID: Final = 1 << 32  # of an object in memory; what counts is smaller
WITHOUT_PLACE: Final = "one of its keys is an object that no name leads to"
BY_IDS: Final = (
    "it holds id()s of objects, which are others in another process; number the objects, or name them"
)


class ByObject:
    """Such a dict, as an object with a state."""

    def __init__(self, held: MutableMapping[Any, Any]) -> None:
        self.held = held

    def state_dict(self) -> dict[str, Any]:
        """To be compared in this process."""
        return {"keys": [*map(id, self.held)], "values": values_of(self.held)}

    def load_state_dict(self, state: Any) -> None:
        raise NotImplementedError  # `filled` does it: only a resume knows the objects


def held_in(value: Any) -> Any:
    """The object itself, of one that stands for it as one with a protocol; any other value as it is."""
    return value.held if isinstance(value, ByObject | Adapted) else value


def is_by_object(value: Any) -> bool:
    """Whether it is a dict of data by objects that are found by their identity alone."""
    return (
        isinstance(value, dict | WeakKeyDictionary)
        and len(value) > 0
        and all(map(is_found_by_identity, value))
        and all(map(is_data, values_of(value)))
    )


def ids_in(value: Any, depth: int = 0) -> list[int]:
    """The numbers by which dicts and sets find something that may be ids of objects, in what they hold, too."""
    if depth > _DEEPEST or not isinstance(value, dict | set | frozenset):
        return []
    found = [each for each in value if type(each) is int and each >= _LEAST_ID]
    tuples = [each for each in value if type(each) is tuple]
    found += [each for key in tuples for each in key if type(each) is int and each >= _LEAST_ID]
    if isinstance(value, dict) and {*map(type, values_of(value))} & {dict, set, frozenset}:
        found += [each for below in values_of(value) for each in ids_in(below, depth + 1)]
    return found


def as_saved(held: MutableMapping[Any, Any], name_of: Callable[[Any], str | None]) -> dict[str, Any] | None:
    """The dict with what leads to each key, which `name_of` gives; None if nothing leads to one of them."""
    names = [*map(name_of, held)]
    return None if None in names else {"keys": names, "values": values_of(held)}


def filled(
    live: Any, saved: Any, objects: Sequence[Any], *, by_id: bool, is_new: bool
) -> MutableMapping[Any, Any]:
    """The live dict, or another one of its kind if `is_new`, with the saved values by these objects."""
    made = {} if not isinstance(live, dict | WeakKeyDictionary) else copy.copy(live) if is_new else live
    keys: Iterable[Any] = map(id, objects) if by_id else objects
    pairs = [*zip(keys, saved["values"], strict=True)]
    made.clear()
    for key, value in pairs:
        made[key] = value
    return made
