"""At a resume: objects like those that were made in the loop, and containers with as many items; their states are put into them later."""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from ... import rng
from .._kinds import attributes, has_own_attributes, is_data, is_module, name_of_item
from .structure import CONTAINERS_MADE, keys_of, links_of

NOTHING_YET: Final = object()
"""In place of an item that is put there later."""

_MOST_ITEMS: Final = 1000


def text_of_container(value: Any, *, is_first: bool) -> str | None:
    """Which items it has, for `resized`; None if that cannot be said. `is_first`: it is the one that was there when the loop began."""
    keys = keys_of(value)
    if keys is None or len(keys) > _MOST_ITEMS:
        return None
    most = value.maxlen if isinstance(value, deque) else None
    return json.dumps([type(value).__name__, is_first, keys if isinstance(value, dict) else len(keys), most])


def resized(live: Any, text: str, later: Collection[str] = ()) -> Any:
    """The container with the items that this text says: the live one if that is meant, else another one.

    Args:
        later: names of items that are put there later; where there are only data now, such as an empty list, nothing stays.

    Raises:
        LookupError: the text makes no sense.
    """
    kind, is_first, keys, most = _read_container(text)
    there = live if type(live) is kind else kind()

    def item(key: Any, value: Any) -> Any:
        return NOTHING_YET if later and name_of_item(key) in later and is_data(value) else value

    if issubclass(kind, dict):
        items = {key: item(key, there.get(key, NOTHING_YET)) for key in keys}
        if not is_first:
            return kind(items)
        there.clear()
        there.update(items)
        return there
    items = [item(*each) for each in enumerate([*there][:keys])] + [NOTHING_YET] * (keys - len(there))
    if kind is tuple:
        return tuple(items)
    if not is_first or there is not live:
        return deque(items, most) if kind is deque else items
    there.clear()
    there.extend(items)
    return there


def _read_container(text: str) -> tuple[Any, bool, Any, int | None]:
    try:
        match json.loads(text):
            case [str() as name, bool() as is_first, int() as count, int() | None as most] if (
                name in ("list", "tuple", "deque") and 0 <= count <= _MOST_ITEMS
            ):
                return CONTAINERS_MADE[name], is_first, count, most
            case [("dict" | "OrderedDict") as name, bool() as is_first, [*keys], None]:
                return CONTAINERS_MADE[name], is_first, keys, None
    except (ValueError, RecursionError, TypeError):
        pass
    raise LookupError("what is said of it makes no sense")


def made_like(text: str, called: Callable[[str], Any], saved_below: Collection[str]) -> Any:
    """A copy of the object at a place, with these parts in common with others.

    Args:
        called: gives the object of a place.
        saved_below: names of attributes that are put there later; they are not copied.

    Raises:
        LookupError: there is no such object, or the text makes no sense.
    """
    try:
        match json.loads(text):
            case [str() as place, dict() as links]:
                pass
            case _:
                raise LookupError("what is said of it makes no sense")
    except (ValueError, RecursionError):
        raise LookupError("what is said of it makes no sense") from None
    first = called(place)
    parts: Mapping[str, Any] = links_of(first) if links else {}
    memo: dict[int, Any] = {}
    for link, where in links.items():
        memo[id(parts[link])] = called(where)
    if has_own_attributes(first) and not is_module(first):
        memo |= {id(each): each for name, each in attributes(first).items() if name in saved_below}
    with rng.preserved():
        made = copy.deepcopy(first, memo)
    if is_module(made):
        before = {
            *map(id, first.parameters()),
            *(id(part) for each in links.values() for part in _tensors(called(each))),
        }
        for each in made.parameters():
            if id(each) not in before:
                each.grad = None
    return made


def _tensors(value: Any) -> list[Any]:
    return [*value.parameters()] if is_module(value) else [value]
