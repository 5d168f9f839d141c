"""Dicts whose keys, and sets whose members, are values but no plain data: Enum members, dates, paths, NumPy scalars.

In a tree they are lists of nodes. What is saved of a plain dict or set is a dict or set there, and needs none of this.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, final

from ... import paths
from ...records import Node, Object
from .._fit import Fit
from .._kinds import type_name
from .._registry import add_type
from .._walk import Walk


@final
class Keyed:
    """A dict as two lists, in its order."""

    name = "dict.keyed"

    def claims(self, kind: type) -> bool:
        return False  # what a dict holds decides, not its type

    def capture(self, value: dict[Any, Any], walk: Walk, path: str) -> Node:
        keys, values = paths.child(path, "keys"), paths.child(path, "values")
        state = {
            "keys": [walk.node(key, paths.item(keys, index)) for index, key in enumerate(value)],
            "values": [
                walk.node(each, paths.item(values, index)) for index, each in enumerate(value.values())
            ],
        }
        return Object(self.name, "builtins.dict", state)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Any:
        raise NotImplementedError  # the live dict's own adapter does

    def fresh(self, state: Any, taken: Object) -> dict[Any, Any]:
        return dict(zip(state["keys"], state["values"], strict=True))


@final
class Members:
    """A set as a list, in an order that does not depend on the process."""

    name = "set.members"

    def claims(self, kind: type) -> bool:
        return False

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        nodes = [
            walk.node(each, paths.item(path, index)) for index, each in enumerate(sorted(value, key=repr))
        ]
        return Object(self.name, type_name(type(value)), nodes)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Any:
        raise NotImplementedError

    def fresh(self, state: Any, taken: Object) -> Any:
        return frozenset(state) if taken.type == type_name(frozenset) else set(state)


def is_keyed(node: Node) -> bool:
    return isinstance(node, Object) and node.adapter == Keyed.name


def has_members(node: Node) -> bool:
    return isinstance(node, Object) and node.adapter == Members.name


def entries_of(
    taken: Object, live: dict[Any, Any], fit: Fit, path: str
) -> Iterator[tuple[Hashable, Node, str]]:
    """Key, node and path of each saved entry; the key is the live dict's own where that has it."""
    own = {key: key for key in live}
    pairs = zip(taken.state["keys"], taken.state["values"], strict=True)
    for index, (saved, value) in enumerate(pairs):
        key = fit.value(saved)
        yield own.get(key, key), value, paths.item(paths.child(path, "values"), index)


def meet_types(keys: Iterable[Any]) -> None:
    """Let keys and members of the classes of these be made again: the live ones say which classes they are."""
    for key in keys:
        if isinstance(key, enum.Enum) or dataclasses.is_dataclass(key) or hasattr(key, "_make"):
            add_type(type(key))
        if isinstance(key, tuple | frozenset):
            meet_types(key)


KEYED, MEMBERS = Keyed(), Members()
ADAPTERS = (KEYED, MEMBERS)
