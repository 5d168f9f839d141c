"""What functions, methods and classes of the script keep from call to call.

A counter may live in a variable that a function closes over, when the function that made it has returned; in an attribute
of a function or a class; in a default that is changed in place; in the object that a method belongs to.
"""

from __future__ import annotations

import enum
import functools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, Final

import numpy as np

from .._frames import Scope, is_of_script, is_own_class

_CACHED: Final = type(functools.lru_cache(abs))
_BUILTIN: Final = (BuiltinFunctionType, MethodWrapperType)
_CODE: Final = (FunctionType, MethodType, *_BUILTIN, type, functools.partial, _CACHED)


@dataclass(frozen=True, slots=True)
class Part:
    """A value that code keeps.

    Attributes:
        name: of the place, below that of the code.
        put: puts something else there.
        owner: what the place belongs to.
    """

    name: str
    value: Any
    put: Callable[[Any], None]
    owner: Any


class Running:
    """Whose variables are looked at already: those of the frames on the stack, and of these scopes."""

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self._codes: set[CodeType] = set()
        self._variables: dict[str, Mapping[str, Any]] = {}
        self._cells: set[int] = set()
        for scope in scopes:
            if scope.frame is not None and not scope.is_module:
                self._codes.add(scope.frame.f_code)
                self._variables[f"{scope.name}.<locals>."] = scope.variables()
            self._cells |= {id(cell) for cell in getattr(scope, "cells", {}).values()}

    def has(self, function: FunctionType, name: str, cell: CellType) -> bool:
        """Whether a variable that this function closes over is one of these."""
        if id(cell) in self._cells or function.__code__ in self._codes:
            return True
        made_in = function.__code__.co_qualname
        return any(
            made_in.startswith(inside) and name in variables and variables[name] is cell.cell_contents
            for inside, variables in self._variables.items()
        )


def is_code(value: Any) -> bool:
    """Whether it is a function, a method or a class."""
    return isinstance(value, _CODE)


def parts_of(value: Any, running: Running | None = None) -> Iterator[Part]:
    """What code keeps; of that of libraries only the objects and functions of the script that it was made with.

    With `running`, without the variables that are looked at already.
    """
    match value:
        case FunctionType():
            yield from _of_function(value, running)
        case MethodType():
            yield _fixed("__func__", value.__func__, value)
            yield from _self_of(value)
        case type():
            yield from _of_class(value)
        case functools.partial():
            yield _fixed("func", value.func, value)
            for index, each in enumerate(value.args):
                yield _fixed(f"args.{index}", each, value)
            for name, each in value.keywords.items():
                yield _fixed(f"keywords.{name}", each, value)
        case _ if isinstance(value, _CACHED):
            yield _fixed("__wrapped__", value.__wrapped__, value)
        case _ if isinstance(value, _BUILTIN):
            yield from _self_of(value)
        case _:
            return


def _of_function(function: FunctionType, running: Running | None) -> Iterator[Part]:
    code, kept = function.__code__, vars(function)
    if "__wrapped__" in kept:
        yield _fixed("__wrapped__", kept["__wrapped__"], function)
    cells = {name: cell for name, cell in cells_of(function).items() if _is_set(cell)}
    if not is_of_script(code.co_filename):  # such as a decorator, which closes over what it decorates
        for name, cell in cells.items():
            if isinstance(cell.cell_contents, FunctionType):
                yield _fixed(name, cell.cell_contents, cell)
        return
    for name, cell in cells.items():
        if running is None or not running.has(function, name, cell):
            yield Part(name, cell.cell_contents, functools.partial(setattr, cell, "cell_contents"), cell)
    for name, each in list(kept.items()):
        if not is_dunder(name):
            yield Part(name, each, functools.partial(setattr, function, name), function)
    defaults = function.__defaults__ or ()
    first = code.co_argcount - len(defaults)
    for index, each in enumerate(defaults):
        name = code.co_varnames[first + index]
        put = functools.partial(_put_default, function, index)
        yield Part(f"{name}=" if name in kept else name, each, put, function)
    of_keywords = function.__kwdefaults__ or {}
    for name, each in list(of_keywords.items()):
        put = functools.partial(of_keywords.__setitem__, name)
        yield Part(f"{name}=" if name in kept else name, each, put, function)


def cells_of(function: FunctionType) -> dict[str, CellType]:
    """The variables of other functions that it closes over."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells.pop("__class__", None)  # of a method with super()
    return cells


def _of_class(kind: type) -> Iterator[Part]:
    if issubclass(kind, enum.Enum):
        for member in kind:
            for name, each in list(vars(member).items()):
                if not name.startswith("_"):
                    yield Part(
                        f"{member.name}.{name}", each, functools.partial(setattr, member, name), member
                    )
        return
    seen: set[str] = set()
    for base in kind.__mro__:
        if not is_own_class(base):
            continue
        for name, each in list(vars(base).items()):
            if name in seen or is_dunder(name) or name.startswith("_abc_"):
                continue
            seen.add(name)
            match each:
                case staticmethod() | classmethod():
                    yield _fixed(name, each.__func__, base)
                case property():
                    yield _fixed(name, each.fget, base)
                    yield _fixed(
                        f"{name} =", each.fset, base
                    )  # no name below `name`, or all would have the same last part
                case _ if not hasattr(type(each), "__get__") or isinstance(each, FunctionType):
                    yield Part(name, each, functools.partial(setattr, base, name), base)
                case _ if is_own_class(type(each)):  # a descriptor
                    yield _fixed(name, each, base)
                case _:
                    continue


def _self_of(method: Any) -> Iterator[Part]:
    """The object that a method belongs to; the random states of the process are saved elsewhere."""
    owner = method.__self__
    if owner is not None and not isinstance(owner, ModuleType) and not _is_global(owner):
        yield _fixed("__self__", owner, method)


def _is_global(value: Any) -> bool:
    theirs = (getattr(random, "_inst", None), getattr(np.random.mtrand, "_rand", None))
    torch = sys.modules.get("torch")
    return any(value is each for each in theirs) or (torch is not None and value is torch.default_generator)


def _fixed(name: str, value: Any, owner: Any) -> Part:
    """A place that cannot be given another value; what is there may change."""

    def put(new: Any) -> None:
        if new is not value:
            raise TypeError("what is there cannot be replaced")

    return Part(name, value, put, owner)


def _put_default(function: FunctionType, index: int, new: Any) -> None:
    defaults = list(function.__defaults__ or ())
    defaults[index] = new
    function.__defaults__ = tuple(defaults)


def _is_set(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def is_dunder(name: str) -> bool:
    """Whether a name is one of Python's own, such as `__doc__`; `__scale`, of a script, is not."""
    return name.startswith("__") and name.endswith("__")
