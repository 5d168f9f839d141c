"""A captured object as plain data, and back: a state that can itself be part of another state.

`state.rebuild` forgets which objects there were, and a snapshot is no value. Here each `Object` becomes
a dict that says what it was under the key `@object`, so nothing is lost and arrays are at the paths
they always have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import state
from ..records import Node, Object

_MARK, _BARE = "@object", "@state"


def take_state(live: Any) -> dict[str, Any]:
    """An independent copy of the entire state of `live`: dicts, lists, scalars and arrays in host memory."""
    snapshot = state.capture(live)
    return state.rebuild(snapshot, _marked(snapshot.tree))


def put_state(taken: Mapping[str, Any], live: Any) -> None:
    """Restore what `take_state` returned, in place; `taken` stays independent and can be put back again.

    Raises:
        StateMismatchError: `live` is not built as it was when saved; nothing was changed.
    """
    snapshot = state.capture(dict(taken))
    state.restore(snapshot, live, tree=_unmarked(snapshot.tree))


def _marked(node: Node) -> Node:
    match node:
        case Object(adapter, kind, inside, about):
            mark = {_MARK: {"adapter": adapter, "type": kind, "about": dict(about)}}
            inside = _marked(inside)
            return mark | (inside if isinstance(inside, dict) else {_BARE: inside})
        case dict():
            return {_escaped(key): _marked(value) for key, value in node.items()}
        case list() | tuple():
            return type(node)(map(_marked, node))
        case _:
            return node


def _unmarked(node: Node) -> Node:
    match node:
        case dict() if _MARK in node:
            what = node[_MARK]
            inside = node[_BARE] if _BARE in node else {key: v for key, v in node.items() if key != _MARK}
            return Object(what["adapter"], what["type"], _unmarked(inside), what["about"])
        case dict():
            return {_unescaped(key): _unmarked(value) for key, value in node.items()}
        case list() | tuple():
            return type(node)(map(_unmarked, node))
        case _:
            return node


def _escaped(key: Any) -> Any:
    return f"@{key}" if isinstance(key, str) and key.startswith("@") else key


def _unescaped(key: Any) -> Any:
    return key[1:] if isinstance(key, str) and key.startswith("@") else key
