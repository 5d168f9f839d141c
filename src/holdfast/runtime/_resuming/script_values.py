"""Plain data that were handed over and that training never changes, such as a config: what the script says now holds, and is named.

Of a learning rate that a schedule moves nobody could tell; but of what was the same at the start and in the checkpoint, a
value that is another now was changed by the script.
"""

from __future__ import annotations

from argparse import Namespace
from collections import UserDict, UserList
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final, final

from ... import paths, state
from ...records import Alias, Leaf, Node, Object

Values = dict[str, Any]
"""By path."""

_MAX_VALUES: Final = 200
_DATA: Final = frozenset(
    {
        *("attrs", "collection", "dataclass", "dict.keyed", "namedtuple"),
        *("namespace", "pydantic", "set.members", "subclass"),
    }
)
_CONTAINERS: Final = (dict, list, tuple, str, int, float, SimpleNamespace, Namespace, UserDict, UserList)
_OF_CLASSES: Final = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")


@final
class ScriptValues:
    """What the script hands over as plain data, by name.

    Attributes:
        followed: what the run follows, to be saved.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self._now = {
            name: values
            for name, each in objects.items()
            if (isinstance(each, _CONTAINERS) or any(hasattr(type(each), mark) for mark in _OF_CLASSES))
            and not hasattr(type(each), "state_dict")
            and (values := _values_of(state.look({name: each}, with_boxes=True).tree)) is not None
        }
        self.followed = dict(self._now)

    def changed(self, then: Mapping[str, Values] | None, tree: Mapping[str, Node]) -> dict[str, str]:
        """For each object that is to stay as the script has it, what the script has changed, as a sentence.

        `then`: as saved; None by a version that did not. `tree`: what the checkpoint holds.
        """
        found = {}
        for name, now in self._now.items():
            began = (then or {}).get(name)
            if began is None or name not in tree:
                continue
            if began == now or _values_of({name: tree[name]}) != began:
                self.followed[name] = began
                continue
            differing = [path for path in dict.fromkeys([*began, *now]) if _at(began, path) != _at(now, path)]
            found[name] = "; ".join(
                f"{path} was {_at(began, path)} and is now {_at(now, path)} in the script"
                for path in differing[:3]
            )
        self._now = dict(self.followed)  # a rollback goes back to what the run follows
        return found


def _at(values: Values, path: str) -> str:
    return repr(values[path]) if path in values else "not there"


def _values_of(tree: Node) -> Values | None:
    """Its plain values; None if it holds anything else, or too many."""
    found: Values = {}
    for path, value in _walk(tree, ""):
        if isinstance(value, Leaf | Alias | Object) or len(found) >= _MAX_VALUES:
            return None
        found[path] = value
    return found


def _walk(node: Node, path: str) -> Iterator[tuple[str, Any]]:
    match node:
        case Object(adapter="enum"):
            yield path, f"{node.type.rpartition('.')[2]}({node.state!r})"
        case Object() if node.adapter in _DATA:
            yield from _walk(node.state, path)
        case dict():
            for key, entry in node.items():
                yield from _walk(entry, paths.child(path, key))
        case list() | tuple():
            for index, entry in enumerate(node):
                yield from _walk(entry, paths.item(path, index))
        case _:
            yield path, node
