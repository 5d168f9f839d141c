"""The order of objects in lists and dicts that were handed over: a resume finds them as the script has made them.

What an optimizer drives, and what a variable names, are these very objects, wherever they have been put since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, final

from ... import paths
from .._kinds import is_data, items_of

_Items: TypeAlias = dict[str, Any]
"""What a container holds, by the element of a path that leads to it."""


@final
class Order:
    """Of the containers among the objects of a run, as they were when it began."""

    def __init__(self) -> None:
        self._began: dict[str, _Items] | None = None

    def begin(self, objects: Mapping[str, Any]) -> None:
        """This is what they are before anything is restored, and before the first loop; a second time changes nothing."""
        if self._began is None:
            found = {name: _items(each) for name, each in objects.items()}
            self._began = {name: items for name, items in found.items() if items}

    def changed(self, objects: Mapping[str, Any]) -> dict[str, str]:
        """By name, of each container that holds the same objects in another order: where each of them was."""
        found: dict[str, str] = {}
        for name, before in (self._began or {}).items():
            now = _items(objects.get(name))
            places = {id(each): element for element, each in before.items()}
            is_same = now.keys() == before.keys() and {*map(id, now.values())} == places.keys()
            if is_same and any(before[element] is not each for element, each in now.items()):
                found[name] = json.dumps({element: places[id(each)] for element, each in now.items()})
        return found

    def restore(self, objects: Mapping[str, Any], saved: Mapping[str, str]) -> None:
        """Put them into the order that `changed` found; into that of the beginning where nothing is said."""
        self.begin(objects)
        for name, before in (self._began or {}).items():
            now = _items(objects.get(name))
            order = _read(saved[name]) if name in saved else {element: element for element in before}
            is_known = order.keys() == now.keys() == before.keys() == {*order.values()}
            if is_known and {*map(id, now.values())} == {*map(id, before.values())}:
                keys = {_element(objects[name], key): key for key, _ in items_of(objects[name])}
                for element, first in order.items():
                    objects[name][keys[element]] = before[first]


def _items(value: Any) -> _Items:
    """Of a list or dict of objects that are no data, each of them once; empty of anything else."""
    if type(value) not in (list, dict) or not value:
        return {}
    pairs = items_of(value)
    if all(is_data(each) for _, each in pairs) or len({id(each) for _, each in pairs}) < len(pairs):
        return {}
    try:
        return {_element(value, key): each for key, each in pairs}
    except TypeError:  # a key that is not plain
        return {}


def _element(container: Any, key: Any) -> str:
    return str(key) if isinstance(container, list) else paths.child("", key)


def _read(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    is_plain = isinstance(found, dict) and all(isinstance(each, str) for each in found.values())
    return found if is_plain else {}
