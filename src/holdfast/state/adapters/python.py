"""Plain Python data: scalars, bytes, dicts, lists, tuples, sets, enum members."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import types
from collections import deque
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ... import paths
from ...records import Leaf, Node, Object
from .._fit import Fit, Make, said, unmakeable
from .._kinds import type_name
from .._live import LiveArray
from .._rebuild import Read
from .._registry import adapter_of, is_registered, registered_type
from .._tree import contents
from .._walk import Walk
from .keyed import KEYED, MEMBERS, entries_of, has_members, is_keyed, meet_types
from .values import Value

_SCALARS = frozenset({type(None), bool, int, float, complex, str, datetime, date, time, timedelta})
NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
_INLINE_BYTES = 1024  # longer ones are stored as leaves, and can be shared


class _Scalar:
    name = "scalar"

    def claims(self, kind: type) -> bool:
        return kind in _SCALARS or issubclass(kind, Path)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return value

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        return fit.replace(live, node, path)


class _Bytes(_Scalar):
    name = "bytes"

    def claims(self, kind: type) -> bool:
        return kind is bytes

    def capture(self, value: bytes, walk: Walk, path: str) -> Node:
        if len(value) < _INLINE_BYTES:
            return value
        live = LiveArray(np.frombuffer(value, np.uint8))
        return walk.array(path, dtype="uint8", shape=(len(value),), kind="bytes", live=live)


class _Dict:
    """Dicts. Into a live one any kin of dict can be put (`collections.py`): it keeps its own type."""

    name = "dict"

    def claims(self, kind: type) -> bool:
        return kind is dict

    def capture(self, value: dict[Any, Any], walk: Walk, path: str) -> Node:
        if not paths.has_plain_keys(value):
            return KEYED.capture(value, walk, path)
        return walk.entries(value, path)

    def plan(self, live: dict[Any, Any], node: Node, fit: Fit, path: str) -> Make:
        entries = contents(node)
        if is_keyed(entries):
            return self._plan_keyed(live, entries, fit, path)
        if not isinstance(entries, dict):
            return replace_plain(live, node, fit, path)
        if live.keys() != entries.keys() and is_plain(live) and not fit.exact:
            return refill(live, fit.replace(live, entries, path), fit, entries)
        return self.plan_entries(live, entries, fit, path)

    def plan_entries(self, live: dict[Any, Any], node: dict[Any, Any], fit: Fit, path: str) -> Make:
        """Each entry into its live one; keys that only one side has are problems."""
        makes = plan_entries(live, node, fit, path)
        return refill(live, lambda: {key: make() for key, make in makes.items()}, fit, node)

    def _plan_keyed(self, live: dict[Any, Any], taken: Object, fit: Fit, path: str) -> Make:
        meet_types(live)
        if next(unmakeable(taken.state["keys"]), None) is not None:
            return fit.replace(live, taken, path)
        entries = [*entries_of(taken, live, fit, path)]
        if live.keys() != {key for key, _, _ in entries} and is_plain(live) and not fit.exact:
            return refill(live, fit.replace(live, taken, path), fit, taken)
        makes = plan_each(live, entries, fit, path)
        return refill(live, lambda: {key: make() for key, make in makes.items()}, fit, taken)


def plan_entries(live: dict[Any, Any], node: dict[Any, Any], fit: Fit, path: str) -> dict[Any, Make]:
    """A plan for each live key, in the saved order; keys that only one side has are problems."""
    return plan_each(live, [(key, saved, paths.child(path, key)) for key, saved in node.items()], fit, path)


def plan_each(
    live: dict[Any, Any], entries: Sequence[tuple[Any, Node, str]], fit: Fit, path: str
) -> dict[Any, Make]:
    """As `plan_entries`, with the path of each saved entry."""
    makes = {}
    known = {key for key, _, _ in entries}
    for key, saved, below in entries:
        if key not in live:
            fit.problem(below, "was saved, but there is no live object for it")
        else:
            entry = live[key]
            is_top = not path  # what was handed over is in variables of the script, too
            makes[key] = (
                fit.into(entry, saved, below) if is_top else fit.entry(live, key, entry, saved, below)
            )
    for key in [key for key in live if key not in known]:
        makes[key] = fit.misfit(live[key], _path_of(path, key), "is not in the saved state")
    return makes


def _path_of(path: str, key: Any) -> str:
    return paths.child(path, key if paths.has_plain_keys({key: None}) else str(key))


class _List:
    """Lists. A live deque takes what a list was, and keeps its type and its bound."""

    name = "list"

    def claims(self, kind: type) -> bool:
        return kind is list

    def capture(self, value: list[Any], walk: Walk, path: str) -> Node:
        return walk.items(value, path)

    def plan(self, live: list[Any], node: Node, fit: Fit, path: str) -> Make:
        items = contents(node)
        if not isinstance(items, list):
            return replace_plain(live, node, fit, path)
        if len(live) != len(items):
            if not is_plain(live):
                what = f"{len(items)} items were saved, the live {said(live)[2:]} has {len(live)}"
                return fit.misfit(live, path, what)
            return refill(live, fit.replace(live, items, path), fit, items)
        makes = plan_items(live, items, fit, path)
        return refill(live, lambda: [make() for make in makes], fit, items)


class _Tuple:
    """Tuples. A live named one keeps its type."""

    name = "tuple"

    def claims(self, kind: type) -> bool:
        return kind is tuple

    def capture(self, value: tuple[Any, ...], walk: Walk, path: str) -> Node:
        return tuple(walk.items(value, path))

    def plan(self, live: tuple[Any, ...], node: Node, fit: Fit, path: str) -> Make:
        node = _items_of(node)
        if not isinstance(node, tuple):
            return replace_plain(live, node, fit, path)
        named: Callable[[list[Any]], Any] = getattr(live, "_make", tuple)
        if len(live) != len(node):
            if named is not tuple or not is_plain(live):
                return fit.misfit(live, path, f"{len(node)} items were saved, the live tuple has {len(live)}")
            return fit.replace(live, node, path)
        makes = plan_items(live, node, fit, path)
        return lambda: named([make() for make in makes])


class _NamedTuple(_Tuple):
    """Named tuples, with the name of their class; older checkpoints have them as tuples."""

    name = "namedtuple"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, tuple) and hasattr(kind, "_make")

    def capture(self, value: tuple[Any, ...], walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), super().capture(value, walk, path))

    def makes(self, taken: Object) -> bool:
        return registered_type(taken.type) is not None

    def fresh(self, state: Any, taken: Object) -> Any:
        """Of a registered class; of another one, a plain tuple."""
        make = getattr(registered_type(taken.type), "_make", tuple)
        return make(state)


def _items_of(node: Node) -> Node:
    return node.state if isinstance(node, Object) and node.adapter == _NamedTuple.name else node


class _Set:
    """Sets of plain values; they have no order, so their items have no path."""

    name = "set"

    def claims(self, kind: type) -> bool:
        return kind in (set, frozenset)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return (
            type(value)(list(value))
            if all(map(_is_plain_item, value))
            else MEMBERS.capture(value, walk, path)
        )

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        meet_types(live)
        if isinstance(live, set) and (isinstance(node, set) or has_members(node)):
            return refill(live, fit.replace(live, node, path), fit, node)
        return fit.replace(live, node, path)


class _Enum:
    """Enum members, by value; only a live member says of which class."""

    name = "enum"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, enum.Enum)

    def capture(self, value: enum.Enum, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(value.value, path))

    def plan(self, live: enum.Enum, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path)
        if taken is None:
            return fit.keep(live)
        try:
            member = type(live)(taken.state)
        except ValueError:
            return fit.misfit(live, path, f"{taken.state!r} is not a value of {type_name(type(live))}")
        return lambda: member

    def makes(self, taken: Object) -> bool:
        return registered_type(taken.type) is not None

    def fresh(self, state: Any, taken: Object) -> Any:
        """Of a registered class; of another one, its value."""
        kind = registered_type(taken.type)
        return state if kind is None else kind(state)


def is_plain(value: Any) -> bool:
    """Whether `value` is nothing but plain data, so that a new value can stand in its place."""
    if isinstance(value, dict):
        return all(is_plain(entry) for entry in value.values())
    if isinstance(value, list | tuple | deque):
        return all(is_plain(entry) for entry in value)
    if type(value) in NAMESPACES:
        return all(map(is_plain, vars(value).values()))
    if is_registered(type(value)) and dataclasses.is_dataclass(value):
        return all(is_plain(getattr(value, each.name, None)) for each in dataclasses.fields(value))
    if is_registered(type(value)) and isinstance(value, enum.Enum):
        return True
    if type(value) in _SCALARS or isinstance(value, bytes | set | frozenset | Path | np.generic):
        return True
    return isinstance(adapter_of(type(value)), Value)


def _is_plain_item(value: Any) -> bool:
    if type(value) in (tuple, frozenset):
        return all(_is_plain_item(entry) for entry in value)
    return type(value) in _SCALARS or type(value) is bytes or isinstance(value, Path)


def plan_items(live: Any, node: Any, fit: Fit, path: str) -> list[Make]:
    pairs = zip(live, node, strict=True)
    return [
        fit.entry(live, index, entry, saved, paths.item(path, index))
        for index, (entry, saved) in enumerate(pairs)
    ]


def replace_plain(live: Any, node: Node, fit: Fit, path: str) -> Make:
    if is_plain(live):
        return fit.replace(live, node, path)
    return fit.misfit(live, path, f"{said(node)} was saved, the live value is {said(live)}")


def refill(live: Any, make: Make, fit: Fit, node: Node) -> Make:
    # What a loader is handed must be new: a scheduler and its inner ones may hold the same live list. So must what
    # began as the same object under another name (`target = params`), and has become another since.
    anew = fit.is_taken(live, node) or fit.typed

    def act() -> Any:
        values = make()  # before the old ones are removed: damage must not leave it empty
        if values is live:  # it did not fit, so it is kept
            return live
        filled = copy.copy(live) if anew else live
        filled.clear()
        if isinstance(filled, dict):
            for key, value in values.items():  # `update` of a Counter would add
                filled[key] = value
        elif isinstance(filled, set):
            filled.update(list(values))  # one by one: a set into a set takes another order
        else:
            filled.extend(values)
        return filled

    return act


def _make_bytes(leaf: Leaf, read: Read) -> bytes:
    data = np.empty(leaf.size_bytes, np.uint8)
    read(leaf, data)
    return data.tobytes()


DICT, LIST = _Dict(), _List()
ADAPTERS = (_Enum(), _Scalar(), _Bytes(), DICT, LIST, _NamedTuple(), _Tuple(), _Set())
MAKERS = {"bytes": _make_bytes}
