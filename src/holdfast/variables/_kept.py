"""What a function of the script keeps between two calls: variables that it closes over, attributes, mutable defaults.

A function that made another one may have returned long ago, so that no frame on the stack has these variables any more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any

from ._frames import is_of_script, script_frames
from ._kinds import SCALARS, has_own_attributes

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
