"""What functions of the script keep between two calls: the variables that they close over, and the objects they belong to.

A training loop that is not the script's own calls them, so that the frames in which they were made may be gone. The same is
true of the functions of a schedule, and of an object that was handed over: its `state_dict` may leave out what it keeps.
"""

from __future__ import annotations

import functools
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
    is_array,
    is_data,
    is_iterator,
    is_module,
    is_rng,
    items_of,
    torch,
)

_UNSET = object()
_LARGEST_KEPT = 16 << 20  # in bytes; what is larger is left to the object's own `state_dict`
_DEEPEST = 4
_MOST_ITEMS = 64


@dataclass(frozen=True, slots=True)
class FunctionScope(Scope):
    """What one function closes over, or the object that it belongs to.

    Attributes:
        cells: by name the variables of the functions around it.
        objects: by name what else it keeps, which is changed in place.
    """

    cells: Mapping[str, CellType]
    objects: Mapping[str, Any]

    @property
    def identity(self) -> tuple[str, int]:
        kept = [*self.cells.values(), *self.objects.values()]
        return self.name, id(kept[0])

    def variables(self) -> dict[str, Any]:
        return {
            **{name: cell.cell_contents for name, cell in self.cells.items() if _is_set(cell)},
            **self.objects,
        }

    def put(self, name: str, value: Any) -> None:
        self.cells[name].cell_contents = value


@dataclass(frozen=True, slots=True)
class KeptScope(Scope):
    """The attributes of an object that was handed over and saves itself: those that are data, and not large."""

    holder: Any

    @property
    def identity(self) -> tuple[str, int]:
        return self.name, id(self.holder)

    def variables(self) -> dict[str, Any]:
        return {name: each for name, each in attributes(self.holder).items() if _can_be_kept(each)}

    def put(self, name: str, value: Any) -> None:
        setattr(self.holder, name, value)


def scopes_within(objects: Mapping[str, Any], variables: Iterable[Any]) -> list[Scope]:
    """Of objects of the script's own classes that save themselves, and of the functions of schedules among them or the `variables`."""
    found: list[Scope] = []
    functions: list[Any] = []
    for name, each in _each_of(objects, 0):
        if is_own_class(type(each)) and has_protocol(each) and not _is_torchs(each):
            found.append(KeptScope(name, None, {}, each))
        functions += getattr(each, "lr_lambdas", ()) if _is_torchs(each) else ()
    for _, each in _each_of({str(index): each for index, each in enumerate(variables)}, 2):
        functions += getattr(each, "lr_lambdas", ()) if _is_torchs(each) else ()
    return [
        *found,
        *scopes_of(each for each in functions if isinstance(each, FunctionType | functools.partial)),
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
    if torch() is None:
        return False
    kinds = torch().optim.Optimizer | torch().optim.lr_scheduler.LRScheduler
    return is_module(value) or isinstance(value, kinds)


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
    """A scope for each of these functions, methods and callable objects that keeps something, and for objects in a dict by name.

    Scopes of one name are told apart by numbers.
    """
    found: dict[str, Scope] = {}
    seen: set[int] = set()
    for name, cells, objects in _kept_by_all(functions):
        kept = [*cells.values(), *objects.values()]
        if not kept or all(id(each) in seen for each in kept):
            continue
        seen |= set(map(id, kept))
        numbered, number = name, 2
        while numbered in found:
            numbered, number = f"{name} ({number})", number + 1
        found[numbered] = FunctionScope(numbered, None, {}, cells, objects)
    return list(found.values())


def _kept_by_all(functions: Iterable[Any]) -> Iterator[tuple[str, dict[str, CellType], dict[str, Any]]]:
    for each in functions:
        while isinstance(each, functools.partial):
            yield from _kept_by_all([*each.args, *each.keywords.values()])
            each = each.func
        if isinstance(each, MethodType):
            each = each.__self__ if has_own_attributes(each.__self__) else each.__func__
        if isinstance(each, FunctionType):
            if is_of_script(each.__code__.co_filename):
                cells = zip(each.__code__.co_freevars, each.__closure__ or (), strict=True)
                yield (
                    each.__qualname__,
                    {name: cell for name, cell in cells if name != "__class__"},  # of a method with super()
                    {name: default for name, default in defaults_of(each).items() if _changes(default)},
                )
                yield from _kept_by_all(filter(has_own_attributes, defaults_of(each).values()))
        elif isinstance(each, Mapping):
            yield "objects", {}, dict(each)
        elif has_own_attributes(each):
            yield type(each).__qualname__, {}, {"self": each}


def defaults_of(function: FunctionType) -> dict[str, Any]:
    """The defaults of its arguments, by name: one object for all calls."""
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    return {**dict(zip(names, defaults, strict=True)), **(function.__kwdefaults__ or {})}


def _changes(value: Any) -> bool:
    """Whether it can be another without being assigned."""
    is_frozen = isinstance(value, tuple | frozenset)
    return (
        is_array(value)
        or is_rng(value)
        or is_iterator(value)
        or (isinstance(value, CONTAINERS) and not is_frozen)
    )


def _is_set(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not _UNSET
    except ValueError:
        return False
