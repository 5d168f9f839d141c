"""Places: where an object is, as a text that leads to it again: from a variable, or from what was handed over, inwards."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from ... import paths
from ...state import Attributes
from .._kinds import (
    SCALARS,
    attributes,
    has_own_attributes,
    has_protocol,
    is_module,
    is_object_array,
    items_of,
)

HANDED: Final = "@"
"""The root of what was handed over begins with it; that of a variable is `scope/key`."""

Link: TypeAlias = "tuple[Link, Any] | str"
"""A place as it is found: the root, or the place above and the key there."""


def text_of(link: Link) -> str:
    """The place as a text: JSON of the root and of a state path below it.

    Raises:
        TypeError: a key is not plain.
    """
    elements: list[str] = []
    while not isinstance(link, str):
        link, key = link
        elements.append(paths.child("", key))
    return json.dumps([link, "/".join(reversed(elements))])


def root_of(link: Link) -> str:
    """The root of a place."""
    while not isinstance(link, str):
        link = link[0]
    return link


def root_of_text(text: str) -> str:
    """The same of a place's text; empty if it is none."""
    return _split(text)[0]


def elements_of(text: str) -> list[str]:
    """The steps from the root to the place."""
    inside = _split(text)[1]
    return inside.split("/") if inside else []


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[str, str]:
    try:
        match json.loads(text):
            case [str() as root, str() as inside, *_]:
                return root, inside
            case _:
                return "", ""
    except (ValueError, RecursionError):
        return "", ""


def parts_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a value holds that a place may lead to, each with its key: items, attributes of what was handed over, parts of a model."""
    if type(value) in (list, tuple, deque):
        yield from enumerate(value)
    elif isinstance(value, Attributes):
        yield from attributes(value.of).items()
    elif is_module(value):
        for name in ("_modules", "_parameters", "_buffers"):
            yield from ((key, each) for key, each in vars(value)[name].items() if each is not None)
    elif isinstance(value, dict | list | tuple | deque) or is_object_array(value):
        yield from items_of(value)
    elif has_groups(value):
        yield "param_groups", value.param_groups
    elif has_own_attributes(value) and not has_protocol(value):
        yield from attributes(value).items()


def has_groups(value: Any) -> bool:
    """Whether it is an optimizer, or wraps one; its own code is not asked."""
    kind = type(value)
    if isinstance(value, type):  # a class of such
        return False
    if kind.__dictoffset__ == 0:
        return hasattr(kind, "param_groups")
    try:
        return hasattr(kind, "param_groups") or "param_groups" in vars(value)
    except TypeError:  # a class in C may have a place for a dict and give none, as tasks of asyncio do
        return False


def at(value: Any, elements: list[str]) -> Any:
    """What is there.

    Raises:
        LookupError: nothing is.
    """
    for element in elements:
        value = _step(value, element)
    return value


def put_at(value: Any, elements: list[str], new: Any) -> Any:
    """Let `new` be there; returns `value`, or what has to take its place, as a tuple cannot be changed.

    Raises:
        LookupError: there is no such place.
    """
    if not elements:
        return new
    first, *rest = elements
    below = _step(value, first)
    changed = put_at(below, rest, new)
    if changed is below:
        return value
    match value:
        case dict():
            value[_key(value, first)] = changed
        case list() | deque():
            value[_index(first)] = changed
        case tuple():
            items = [changed if index == _index(first) else each for index, each in enumerate(value)]
            return getattr(value, "_make", type(value))(items)
        case Attributes():
            object.__setattr__(value.of, paths.plain_name(first)[0], changed)
        case _ if has_own_attributes(value):
            object.__setattr__(value, paths.plain_name(first)[0], changed)
        case _ if is_object_array(value):
            value.flat[_index(first)] = changed
        case _:
            raise LookupError(first)
    return value


def _step(value: Any, element: str) -> Any:
    if isinstance(value, dict):
        return value[_key(value, element)]
    if isinstance(value, list | tuple | deque):
        return value[_index(element)]
    for key, each in parts_of(value):
        if paths.child("", key) == element:
            return each
    raise LookupError(element)


def _index(element: str) -> int:
    return int(element.removeprefix("%i:"))


def _key(value: Mapping[Any, Any], element: str) -> Any:
    if element in value:
        return element
    if element.startswith("%i:") and (number := _index(element)) in value:
        return number
    for key in value:
        if (type(key) in SCALARS or type(key) is tuple) and paths.child("", key) == element:
            return key
    raise LookupError(element)
