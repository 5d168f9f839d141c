"""Objects of classes that inherit from dict, list or their kin; only a live one says of which class.

Their contents are those of the base class, whatever their own methods do; what they hold beside them are their attributes.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from typing import Any, Final

from ... import paths
from ...records import Node, Object
from .._fit import Fit, Make, said
from .._kinds import type_name
from .._tree import contents
from .._walk import Walk
from .attributes import attributes_of, visible_bytes

_BASES: Final = (OrderedDict, defaultdict, Counter, dict, deque, list)
_WRAPPERS: Final = (UserDict, UserList)  # which are nothing but their attributes
_OF_BASES: Final = ("default_factory",)  # which the live one keeps
_ITEMS: Final = "items"
_ATTRIBUTES: Final = "attributes"


class Subclass:
    name = "subclass"
    is_container = True

    def claims(self, kind: type) -> bool:
        if issubclass(kind, _WRAPPERS):
            return True
        return issubclass(kind, _BASES) and _is_known_entirely(kind)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        parts = _parts_of(value)
        state = {name: walk.node(part, walk.child(path, name)) for name, part in parts.items()}
        return Object(self.name, type_name(type(value)), state)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        now = _parts_of(live)
        if isinstance(contents(node), dict | list) and _ITEMS in now:  # the script had a plain one then
            make_items, make_attributes = fit.into(now[_ITEMS], contents(node), path), None
        else:
            taken = fit.object_of(self.name, live, node, path, holds=dict)
            if taken is None:
                return fit.keep(live)
            if not taken.state.keys() <= now.keys() | {_ATTRIBUTES} or not _is_alike(now, taken.state):
                return fit.misfit(live, path, f"a {taken.type} was saved, the live object is {said(live)}")
            makes = {
                name: fit.into(now.get(name, {}), part, paths.child(path, name))
                for name, part in taken.state.items()
            }
            make_items, make_attributes = makes.get(_ITEMS), makes.get(_ATTRIBUTES, dict)
        is_taken = fit.is_taken(live, node)

        def act() -> Any:
            items = None if make_items is None else make_items()
            attributes = None if make_attributes is None else make_attributes()
            filled = copy.copy(live) if is_taken or fit.typed else live
            if make_items is not None:
                _fill(filled, items)
            if attributes is not None:
                _set_attributes(filled, attributes)
            return filled

        return act

    def makes(self, taken: Object) -> bool:
        return False

    def fresh(self, state: Any, taken: Object) -> Any:
        """What the base class would hold: the class is known only from a live one."""
        return state[_ITEMS] if _ITEMS in state else state.get(_ATTRIBUTES, {}).get("data", state)


def _is_alike(now: dict[str, Any], saved: dict[str, Node]) -> bool:
    """Whether both were dicts, or both lists, or neither."""
    return isinstance(now.get(_ITEMS), list) == isinstance(saved.get(_ITEMS), list)


def _base_of(kind: type) -> type | None:
    return next((each for each in _BASES if issubclass(kind, each)), None)


def _is_known_entirely(kind: type) -> bool:
    """Whether instances hold nothing but the base's contents and attributes that Python sees."""
    base = _base_of(kind)
    return base is not None and kind.__basicsize__ - base.__basicsize__ <= visible_bytes(
        kind
    ) - visible_bytes(base)


def _parts_of(value: Any) -> dict[str, Any]:
    """Its items, as a plain dict or list, and its attributes, if it has any."""
    base = _base_of(type(value))
    attributes = {name: each for name, each in attributes_of(value) if name not in _OF_BASES}
    parts: dict[str, Any] = {}
    if base is not None and issubclass(base, dict):
        parts[_ITEMS] = dict(base.items(value))
    elif base is not None:
        parts[_ITEMS] = [*base.__iter__(value)]
    return parts | ({_ATTRIBUTES: attributes} if attributes else {})


def _fill(live: Any, items: Any) -> None:
    base = _base_of(type(live))
    assert base is not None
    base.clear(live)
    if isinstance(live, dict):
        for key, value in items.items():
            base.__setitem__(live, key, value)
    else:
        base.extend(live, items)


def _set_attributes(live: Any, attributes: dict[str, Any]) -> None:
    gone = [name for name, _ in attributes_of(live) if name not in attributes]
    for name in gone:
        object.__delattr__(live, name)
    for name, value in attributes.items():
        object.__setattr__(live, name, value)


ADAPTERS = (Subclass(),)
