"""What functions of the script keep between two calls: the variables that they close over, and the objects they belong to.

A training loop that is not the script's own calls them, so that the frames in which they were made may be gone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from ._frames import Scope, is_of_script, script_frames
from ._kinds import SCALARS, has_own_attributes

_UNSET = object()


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


def scopes_of(functions: Iterable[Any]) -> list[Scope]:
    """A scope for each of these functions, methods and callable objects that keeps something; names are told apart by numbers."""
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
                yield (
                    each.__qualname__,
                    dict(zip(each.__code__.co_freevars, each.__closure__ or (), strict=True)),
                    {},
                )
                defaults = [*(each.__defaults__ or ()), *(each.__kwdefaults__ or {}).values()]
                yield from _kept_by_all(default for default in defaults if has_own_attributes(default))
        elif has_own_attributes(each):
            yield type(each).__qualname__, {}, {"self": each}


def _is_set(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not _UNSET
    except ValueError:
        return False


# --- below a function that a variable leads to -----------------------------------------------------

Kept = tuple[str, Any, Callable[[Any], None], Any]
"""A name (empty: it goes by that of the function), what is there, how to put something else there, and what it belongs to."""


def is_function(value: Any) -> bool:
    """Whether it is one that may keep something."""
    return isinstance(value, FunctionType | MethodType | functools.partial)


def kept_by(function: Any) -> Iterator[Kept]:
    """What is below a function, a method, or a partial; nothing of a library's.

    Variables that a running frame of the script has are left to it.
    """
    if isinstance(function, functools.partial):
        parts = [("", function.func), *enumerate(function.args), *function.keywords.items()]
        yield from ((str(name), part, _cannot_be_put, function) for name, part in parts)
    elif isinstance(function, MethodType):
        kept = function.__self__ if has_own_attributes(function.__self__) else function.__func__
        yield "", kept, _cannot_be_put, function
    elif isinstance(function, FunctionType) and is_of_script(function.__code__.co_filename):
        yield from _of_function(function)


def _of_function(function: FunctionType) -> Iterator[Kept]:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    running = _names_of_running_frames(function.__code__) if cells else frozenset[str]()
    for name, cell in cells.items():
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if name not in running:
            yield name, value, functools.partial(setattr, cell, "cell_contents"), cell
    for name, value in vars(function).items():
        if name != "__wrapped__":
            yield name, value, functools.partial(setattr, function, name), function
    defaults = function.__defaults__ or ()
    named = function.__code__.co_varnames[: function.__code__.co_argcount][-len(defaults) or None :]
    for name, value in [*zip(named, defaults, strict=False), *(function.__kwdefaults__ or {}).items()]:
        if type(value) not in SCALARS:
            yield name, value, _cannot_be_put, function


def _cannot_be_put(value: Any) -> None:
    raise TypeError("it can only be changed in place")


def _names_of_running_frames(code: CodeType) -> frozenset[str]:
    """The variables around this code whose frames are on the stack."""
    found = set[str]()
    for frame in script_frames():
        around = frame.f_code
        if (around.co_cellvars or around.co_freevars) and code in _nested(around):
            found |= {*around.co_cellvars, *around.co_freevars}
    return frozenset(found)


@lru_cache(maxsize=4096)
def _nested(code: CodeType) -> frozenset[CodeType]:
    """The code of all functions that are defined inside of this one."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(inner).union(*map(_nested, inner))
