"""What functions of the script keep between two calls: the variables that they close over, and the objects they belong to.

A training loop that is not the script's own calls them, so that the frames in which they were made may be gone. The same is
true of the functions of a schedule, and of an object that was handed over: its `state_dict` may leave out what it keeps.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CellType, FunctionType, MethodType
from typing import Any

from .. import state
from ..errors import UnsupportedStateError
from ._frames import Scope, is_of_script, is_own_class
from ._kinds import (
    CONTAINERS,
    attributes,
    has_own_attributes,
    has_protocol,
    is_data,
    items_of,
    torch,
)
from ._looks.code import cells_of, is_code, parts_of
from ._looks.hooks import registered
from ._names import numbered

_LARGEST_KEPT = 16 << 20  # in bytes; what is larger is left to the object's own `state_dict`
_DEEPEST = 4
_MOST_ITEMS = 64


@dataclass(frozen=True, slots=True)
class FunctionScope(Scope):
    """What one function of the script keeps."""

    function: Any  # a FunctionType, which a type checker would take for a method

    @property
    def identity(self) -> tuple[str, int]:
        return self.name, id(self.function)

    @property
    def cells(self) -> dict[str, CellType]:
        """The variables of functions around it."""
        return cells_of(self.function)

    def variables(self) -> dict[str, Any]:
        return {part.name: part.value for part in parts_of(self.function)}

    def put(self, name: str, value: Any) -> None:
        for part in parts_of(self.function):
            if part.name == name:
                part.put(value)
                return
        if name in self.cells:  # not assigned yet
            self.cells[name].cell_contents = value
        else:
            setattr(self.function, name, value)


@dataclass(frozen=True, slots=True)
class ObjectScope(Scope):
    """Objects by name, which are changed in place."""

    objects: Mapping[str, Any]

    @property
    def identity(self) -> tuple[str, int]:
        return self.name, id(next(iter(self.objects.values())))

    def variables(self) -> dict[str, Any]:
        return dict(self.objects)


@dataclass(frozen=True, slots=True)
class KeptScope(Scope):
    """The attributes of an object that was handed over and saves itself: those that are data, and not large."""

    holder: Any

    @property
    def identity(self) -> tuple[str, int]:
        return self.name, id(self.holder)

    def variables(self) -> dict[str, Any]:
        return kept_attributes(self.holder)

    def put(self, name: str, value: Any) -> None:
        setattr(self.holder, name, value)


def scopes_within(objects: Mapping[str, Any], variables: Iterable[Any]) -> list[Scope]:
    """Of objects of the script's own classes that save themselves, of the functions of schedules among them or the `variables`, and of
    their hooks."""
    found: list[Scope] = []
    functions: list[Any] = registered(objects)
    for name, each in _each_of(objects, 0):
        if is_own_class(type(each)) and has_protocol(each) and not _is_torchs(each):
            found.append(KeptScope(name, None, {}, each))
        functions += getattr(each, "lr_lambdas", ()) if _is_torchs(each) else ()
    for _, each in _each_of({str(index): each for index, each in enumerate(variables)}, 2):
        functions += getattr(each, "lr_lambdas", ()) if _is_torchs(each) else ()
    return [
        *found,
        *scopes_of(each for each in functions if is_code(each) or has_own_attributes(each)),
    ]


def _each_of(values: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    """These values, and those in short containers and chains of schedules among them, by name."""
    for name, value in values.items():
        inside: dict[str, Any] = {}
        if isinstance(value, (Mapping, *CONTAINERS)) and len(value) <= _MOST_ITEMS:
            inside = {str(key): each for key, each in items_of(value)}
        elif _is_torchs(value):
            inside = {str(index): each for index, each in enumerate(getattr(value, "_schedulers", ()))}
        yield name, value
        if inside and depth < _DEEPEST:
            prefix = f"{name}." if name else ""
            yield from _each_of({f"{prefix}{key}": each for key, each in inside.items()}, depth + 1)


def _is_torchs(value: Any) -> bool:
    """A module, an optimizer or a schedule, of whatever class: what it keeps is saved elsewhere."""
    return isinstance(value, _kinds_of(torch()))


@functools.cache
def _kinds_of(loaded: Any) -> tuple[type, ...]:
    if loaded is None:
        return ()
    return loaded.nn.Module, loaded.optim.Optimizer, loaded.optim.lr_scheduler.LRScheduler


def kept_attributes(holder: Any) -> dict[str, Any]:
    """The attributes of an object that saves itself that are data, and not large: its own state may leave them out."""
    return {name: each for name, each in attributes(holder).items() if _can_be_kept(each)}


def _can_be_kept(value: Any) -> bool:
    if not is_data(value):
        return False
    walk = state.Walk()
    try:
        walk.run(value, "")
    except UnsupportedStateError:
        return False
    return sum(leaf.size_bytes for leaf, _ in walk.arrays) <= _LARGEST_KEPT


def scopes_of(functions: Iterable[Any]) -> list[Scope]:
    """A scope for each of these functions, methods and callable objects of the script, and for objects in a dict by name.

    Scopes of one name are told apart by numbers.
    """
    found: dict[str, Scope] = {}
    seen: set[int] = set()
    for each in _kept_by_all(functions):
        if isinstance(each, FunctionType):
            if id(each) not in seen and _is_of_script(each):
                seen.add(id(each))
                name = numbered(each.__qualname__, found)
                found[name] = FunctionScope(name, None, {}, each)
            continue
        objects = each if isinstance(each, Mapping) else {"self": each}
        if not objects or all(id(one) in seen for one in objects.values()):
            continue
        seen |= set(map(id, objects.values()))
        name = numbered("objects" if isinstance(each, Mapping) else type(each).__qualname__, found)
        found[name] = ObjectScope(name, None, {}, dict(objects))
    return list(found.values())


def _kept_by_all(functions: Iterable[Any]) -> Iterator[Any]:
    """Functions, objects of the script, and dicts."""
    for each in functions:
        while isinstance(each, functools.partial):
            yield from _kept_by_all([*each.args, *each.keywords.values()])
            each = each.func
        if isinstance(each, MethodType):
            each = each.__self__ if has_own_attributes(each.__self__) else each.__func__
        if isinstance(each, FunctionType):  # not the decorator of a library, but what it decorates
            each = inspect.unwrap(each, stop=_is_of_script)
        if isinstance(each, FunctionType | Mapping) or has_own_attributes(each):
            yield each


def _is_of_script(function: Any) -> bool:
    return isinstance(function, FunctionType) and is_of_script(function.__code__.co_filename)
