"""Objects that were handed over by their attributes (`holdfast.attributes`), and those that they hold."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, final

import numpy as np

from ... import paths
from ...records import Leaf, Node, Object
from .._attributes import Attributes
from .._fit import Fit, Make, said, unmakeable
from .._registry import adapter_of
from .._walk import Walk, type_name
from .python import is_plain

_NAME = "attributes"
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType)
_WORD = object.__basicsize__ // 2  # of an empty object: its count of references and its type
_UNSET = object()


class _Handed:
    name = _NAME

    def claims(self, kind: type) -> bool:
        return kind is Attributes

    def capture(self, value: Attributes, walk: Walk, path: str) -> Node:
        reach = _Reach(path, value.leave)
        with walk.taking_others_by(reach):
            return reach.capture(value.of, walk, path)

    def plan(self, live: Attributes, node: Node, fit: Fit, path: str) -> Make:
        reach = _Reach(path, live.leave)
        with fit.taking_others_by(reach):
            make = reach.plan(live.of, node, fit, path)

        def act() -> Any:
            make()
            return live

        return act


@final
class _Reach:
    """Takes every object apart that nobody else does, below the one at the path `root`."""

    name = _NAME

    def __init__(self, root: str, leave: tuple[str, ...]) -> None:
        self._root, self._leave = root, leave

    def claims(self, kind: type) -> bool:
        return True

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        if (why := why_not(value)) is not None:
            below = path.removeprefix(self._root).removeprefix("/")
            hint = f"It was handed over by attributes(): {why}. leave={below!r} leaves it as the script makes it."
            walk.refuse(path, type_name(type(value)), hint)
        parts = {
            name: walk.node(part, walk.child(path, name)) for name, part in self._parts(value, path).items()
        }
        return Object(self.name, type_name(type(value)), parts)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if saved is None:
            return fit.keep(live)
        parts, makes = self._parts(live, path), {}
        for name, part in saved.state.items():
            below = paths.child(path, name)
            if not self._is_left(below):
                makes[name] = _plan_part(parts.get(name, _UNSET), part, fit, below)
        gone = [name for name in parts if name not in saved.state]

        def act() -> Any:
            made = {name: make() for name, make in makes.items()}
            for name, value in made.items():
                object.__setattr__(live, name, value)
            for name in gone:  # set since then
                object.__delattr__(live, name)
            return live

        return act

    def _parts(self, value: Any, path: str) -> dict[str, Any]:
        return {
            name: part for name, part in _attributes_of(value) if not self._is_left(paths.child(path, name))
        }

    def _is_left(self, path: str) -> bool:
        below = path.removeprefix(self._root).removeprefix("/")
        return any(paths.matches(below, each) for each in self._leave)


def _plan_part(live: Any, node: Node, fit: Fit, path: str) -> Make:
    """Into a live value where that keeps what it is; else a new one in its place, where one can be made."""
    if live is not _UNSET and not _is_replaced(live, fit.resolve(node)):
        return fit.into(live, node, path)
    lost = next(unmakeable(node), None)
    if lost is not None:
        there = "nothing" if live is _UNSET else said(live)
        what = f"a {lost.type} was saved, and can only be restored into a live one; here is {there}"
        fit.problem(path, what)
        return fit.keep(None if live is _UNSET else live)
    return fit.fresh(node)


def _is_replaced(live: Any, node: Node) -> bool:
    if live is _UNSET or live is None or node is None:
        return True
    if isinstance(live, np.ndarray) and isinstance(node, Leaf):
        return live.shape != node.shape or str(live.dtype) != node.dtype
    if isinstance(node, Leaf):
        return tuple(getattr(live, "shape", ())) != node.shape
    return is_plain(live) and not isinstance(live, dict | list | tuple)


def why_not(value: Any) -> str | None:
    """Why its attributes do not say all that it holds, in words; None if they do."""
    kind = type(value)
    if isinstance(value, _CODE):
        return "this is code, not state"
    if hasattr(kind, "__next__"):
        return f"a {type_name(kind)} is an iterator, whose place is no attribute"
    if adapter_of(kind) is not None and not hasattr(value, "__dict__"):
        return f"a {type_name(kind)} needs no attributes(): hand it over as it is"
    if kind.__itemsize__ or kind.__basicsize__ > _visible_bytes(kind):
        return f"a {type_name(kind)} keeps state that is no attribute"
    return None


def _visible_bytes(kind: type) -> int:
    """How large an instance is of which Python sees everything; as `object.__reduce_ex__` reckons."""
    words = 2 + sum(1 for _ in _slots(kind))
    words += kind.__dictoffset__ > 0
    words += kind.__weakrefoffset__ > 0
    return words * _WORD


def _slots(kind: type) -> Iterator[types.MemberDescriptorType]:
    for each in kind.__mro__:
        for member in vars(each).values():
            if isinstance(member, types.MemberDescriptorType):
                yield member


def _attributes_of(value: Any) -> Iterator[tuple[str, Any]]:
    """By name, those that are set: in `__dict__`, then in slots."""
    own = getattr(value, "__dict__", {})
    yield from own.items()
    for slot in _slots(type(value)):
        if slot.__name__ not in own and (found := getattr(value, slot.__name__, _UNSET)) is not _UNSET:
            yield slot.__name__, found


ADAPTERS = (_Handed(),)
