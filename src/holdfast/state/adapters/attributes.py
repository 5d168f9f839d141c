"""Objects that were handed over by their attributes (`holdfast.attributes`), and those that they hold."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from ... import paths
from ...errors import UsageError
from ...records import Leaf, Node, Object
from .._fit import Fit, Make, unmakeable
from .._kinds import type_name
from .._registry import adapter_of
from .._tree import contents
from .._walk import Walk

_NAME = "attributes"
CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.CodeType,
)
_WORD = object.__basicsize__ // 2  # of an empty object: its count of references and its type
_UNSET = object()


@final
class Attributes:
    """What `attributes` returns; see there."""

    __slots__ = ("leave", "of")

    def __init__(self, of: Any, leave: Sequence[str]) -> None:
        self.of, self.leave = of, tuple(leave)

    def __repr__(self) -> str:
        return f"attributes({self.of!r})"

    def held(self) -> Iterator[Any]:
        """The object, and whatever is saved with it, at any depth; not what adapters take out of objects that they know."""
        reach, seen = _Reach("", self.leave), set[int]()
        waiting: list[tuple[str, Any]] = [("", self.of)]
        while waiting:
            path, value = waiting.pop()
            if id(value) in seen or isinstance(value, str | bytes | int | float | None):
                continue
            seen.add(id(value))
            yield value
            if isinstance(value, Mapping):
                waiting += paths.entries(path, value)
            elif isinstance(value, list | tuple | set | frozenset | deque):
                waiting += [(paths.item(path, index), each) for index, each in enumerate(value)]
            elif adapter_of(type(value)) is None and not isinstance(value, CODE):
                waiting += [
                    (paths.child(path, name), each) for name, each in reach.parts(value, path).items()
                ]


def attributes(of: Any, *, leave: str | Sequence[str] = ()) -> Attributes:
    """Hand over an object by its attributes: an environment, a replay buffer, an agent of a class that knows nothing of it.

        with holdfast.Run("runs/dqn", {"env": holdfast.attributes(env), "model": model}) as run:

    Saved are arrays, plain data, and whatever else Holdfast takes, in containers too; of objects of other classes again
    the attributes, at any depth. A restore puts them back into the live object, which has to be of the same class:
    arrays of the same shape in place, everything else as new values. Nothing is pickled, and no code is run but
    what sets attributes. What the object keeps elsewhere (in a library of C, a process, a file) is unknown to its attributes.

    Args:
        of: the object, of a class written in Python.
        leave: patterns of attributes that stay as the script has made them, such as `"spec"` or `"**/logger"`: names, below
            one another with `/` (see `paths.matches`).

    Raises:
        UsageError: it is a class, a function, plain data, or its class keeps state that is no attribute.
        UnsupportedStateError: (when the run is entered, or it is saved) an attribute cannot be saved; it names which.
    """
    if (why := why_not(of)) is not None:
        raise UsageError(f"attributes() takes an object apart, and {why}.")
    patterns = (leave,) if isinstance(leave, str) else tuple(leave)
    if not all(isinstance(each, str) and each for each in patterns):
        raise UsageError(f"leave= must be patterns of attributes, such as 'spec', not {leave!r}.")
    return Attributes(of, patterns)


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
            name: walk.node(part, walk.child(path, name)) for name, part in self.parts(value, path).items()
        }
        return Object(self.name, type_name(type(value)), parts)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if saved is None:
            return fit.keep(live)
        parts, makes = self.parts(live, path), {}
        for name, part in saved.state.items():
            below = paths.child(path, name)
            if not self._is_left(below):
                is_new = name not in parts
                makes[name] = _plan_new(part, fit, below) if is_new else fit.item(parts[name], part, below)
        gone = [name for name in parts if name not in saved.state]

        def act() -> Any:
            made = {name: make() for name, make in makes.items()}
            for name, value in made.items():
                object.__setattr__(live, name, value)
            for name in gone:  # set since then
                object.__delattr__(live, name)
            return live

        return act

    def renews(self, live: Any, node: Node) -> bool:
        if live is None or node is None:
            return True
        if isinstance(node, Leaf):
            return tuple(getattr(live, "shape", ())) != node.shape or _dtype_of(live) != node.dtype
        saved = contents(node)
        if isinstance(live, dict):
            return not isinstance(saved, dict) or live.keys() != saved.keys()
        if isinstance(live, list | tuple | deque):
            return not isinstance(saved, list | tuple) or len(live) != len(saved)
        return hasattr(live, "shape")

    def parts(self, value: Any, path: str) -> dict[str, Any]:
        return {
            name: part for name, part in attributes_of(value) if not self._is_left(paths.child(path, name))
        }

    def _is_left(self, path: str) -> bool:
        below = path.removeprefix(self._root).removeprefix("/")
        return any(paths.matches(below, each) for each in self._leave)


def _plan_new(node: Node, fit: Fit, path: str) -> Make:
    """For an attribute that the live object does not have."""
    if (lost := next(unmakeable(node), None)) is None:
        return fit.fresh(node)
    fit.problem(path, _only_into_a_live_one(lost, "nothing"))
    return fit.keep(None)


def _only_into_a_live_one(lost: Object, there: str) -> str:
    return f"a {lost.type} was saved, and can only be restored into a live one; here is {there}"


def why_not(value: Any) -> str | None:
    """Why its attributes do not say all that it holds, in words; None if they do."""
    kind = type(value)
    if isinstance(value, CODE):
        return "this is code, not state"
    if hasattr(kind, "__next__"):
        return f"a {type_name(kind)} is an iterator, whose place is no attribute"
    if adapter_of(kind) is not None and not hasattr(value, "__dict__"):
        return f"a {type_name(kind)} needs no attributes(): hand it over as it is"
    if kind.__itemsize__ or kind.__basicsize__ > visible_bytes(kind):
        return f"a {type_name(kind)} keeps state that is no attribute"
    return None


def visible_bytes(kind: type) -> int:
    """How large an instance is of which Python sees everything; as `object.__reduce_ex__` reckons."""
    words = 2 + sum(1 for _ in _slots(kind))
    words += kind.__dictoffset__ > 0
    words += kind.__weakrefoffset__ > 0
    return words * _WORD


def _slots(kind: type) -> Iterator[types.MemberDescriptorType]:
    for each in kind.__mro__:
        for member in vars(each).values():
            if isinstance(member, types.MemberDescriptorType) and not member.__name__.startswith("__"):
                yield member


def _dtype_of(live: Any) -> str:
    return str(getattr(live, "dtype", "")).rpartition(".")[2]


def attributes_of(value: Any) -> Iterator[tuple[str, Any]]:
    """By name, those that are set: in `__dict__`, then in slots."""
    own = getattr(value, "__dict__", {})
    yield from own.items()
    for slot in _slots(type(value)):
        if slot.__name__ not in own and (found := getattr(value, slot.__name__, _UNSET)) is not _UNSET:
            yield slot.__name__, found


ADAPTERS = (_Handed(),)
