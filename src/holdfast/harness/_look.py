"""Looks into what a script keeps: its variables, its objects' attributes, and how far its iterators are."""

from __future__ import annotations

import dis
import io
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import GEN_CREATED, getclosurevars, getgeneratorstate
from types import CodeType, FunctionType, GeneratorType
from typing import Any, Final

from .. import state
from ..errors import HoldfastError
from ..variables import (
    attributes,
    has_own_attributes,
    is_data,
    is_ignored,
    is_iterator,
    is_module,
    is_of_script,
    is_own_class,
    position_of,
)

_DEEPEST: Final = 4
_MANY_ITEMS: Final = 10_000
_MOST_OBJECTS: Final = 100  # of a container
_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass(frozen=True, slots=True)
class Look:
    """One thing at one hook.

    Attributes:
        kind: the name of its class.
        digest: of what it holds, or of where it is; None if that cannot be known.
        shown: it, in short.
        is_iterator: whether it is one.
        is_array: whether it is an array or a tensor, or a tuple of them.
        has_state: whether it says itself what its state is.
        is_live: whether it can still be read before it is written; of others only integers are looked at.
        is_model: whether its state is arrays that training writes, and its attributes are no part of it.
        is_hidden: whether it may be elsewhere, or in another state, even if the digest is the same.
        is_left: whether the run was told to leave it to the script.
    """

    kind: str
    digest: str | None
    shown: str = ""
    is_iterator: bool = False
    is_array: bool = False
    has_state: bool = False
    is_live: bool = True
    is_model: bool = False
    is_hidden: bool = False
    is_left: bool = False


class Looks:
    """Collects what is found below the names that it is given.

    Attributes:
        found: a look by the name that people would write: `count`, `trainer.mean`, `model.blocks.0.calls`.
    """

    def __init__(self) -> None:
        self.found: dict[str, Look] = {}
        self._entered: set[int] = set()

    def add(self, name: str, value: Any, depth: int = 0) -> None:
        """Look at a value, and at what the script's own objects in it hold."""
        if name in self.found or name.rpartition(".")[2].startswith("__"):
            return
        if isinstance(value, FunctionType):
            self._add_function(name, value, depth)
            return
        if is_ignored(value) or isinstance(value, io.IOBase) or _is_ours(value):
            return
        look = _look(value)
        is_own = has_own_attributes(value)
        if is_own or is_module(value) or (look.digest is None and isinstance(value, list | tuple | dict)):
            if id(value) in self._entered or depth > _DEEPEST:
                return
            self._entered.add(id(value))
            for inner, part in _parts(value, is_own=is_own):
                self.add(f"{name}.{inner}", part, depth + 1)
            if look.digest is None and not look.is_hidden:
                return
        self.found[name] = look

    def add_spent(self, name: str, value: Any) -> None:
        """Look at a variable that is written before it is read again: an integer tells what an iterator counted."""
        if type(value) is int and name not in self.found:
            self.found[name] = replace(_look(value), is_live=False)

    def add_class(self, kind: type) -> None:
        """Look at the data that a class of the script's holds itself."""
        for name, value in list(vars(kind).items()):
            if not name.startswith("_") and is_data(value):
                self.add(f"{kind.__name__}.{name}", value)

    def has_entered(self, value: Any) -> bool:
        """Whether this object was found already, under another name."""
        return id(value) in self._entered

    def _add_function(self, name: str, function: FunctionType, depth: int) -> None:
        """What it keeps from call to call: its attributes, its defaults, and variables of a function that is over."""
        if id(function) in self._entered or not is_of_script(function.__code__.co_filename):
            return
        self._entered.add(id(function))
        kept = {**vars(function), **(function.__kwdefaults__ or {})}
        kept |= {f"default {n}": each for n, each in enumerate(function.__defaults__ or ())}
        if function.__closure__:
            kept |= getclosurevars(function).nonlocals
        for inner, value in kept.items():
            self.add(f"{name}.{inner}", value, depth + 1)


def _parts(value: Any, *, is_own: bool) -> Iterator[tuple[str, Any]]:
    """The attributes of an object of the script's, the script's own modules in a torch module, a container's items."""
    if isinstance(value, Mapping):
        yield from ((str(key), each) for key, each in list(value.items())[:_MOST_OBJECTS])
    elif isinstance(value, list | tuple):
        yield from ((str(index), each) for index, each in enumerate(value[:_MOST_OBJECTS]))
    if is_own:
        yield from _own_attributes(value).items()
    if is_module(value):
        root: Any = value
        for path, module in root.named_modules():
            if path and has_own_attributes(module):
                yield from ((f"{path}.{name}", each) for name, each in _own_attributes(module).items())


def _own_attributes(value: Any) -> dict[str, Any]:
    mentioned = _mentioned(type(value))
    return {name: each for name, each in attributes(value).items() if mentioned is None or name in mentioned}


@lru_cache(maxsize=1024)
def _mentioned(kind: type) -> frozenset[str] | None:
    """The attributes that a class of the script's speaks of, if it has them from a library's class as well; else None."""
    own = [each for each in kind.__mro__ if is_own_class(each)]
    if all(each in own or each.__module__ in ("builtins", "abc", "typing") for each in kind.__mro__):
        return None
    names: set[str] = set()
    for each in own:
        for method in vars(each).values():
            code = getattr(getattr(method, "__func__", method), "__code__", None)
            names |= _attributes_in(code) if isinstance(code, CodeType) else set()
    return frozenset(names)


def _attributes_in(code: CodeType) -> set[str]:
    names = {
        str(each.argval) for each in dis.get_instructions(code) if each.opname in ("LOAD_ATTR", "STORE_ATTR")
    }
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names |= _attributes_in(inner)
    return names


def _look(value: Any) -> Look:
    kind = type(value)
    digest, shown = _digest(value), ""
    if isinstance(value, int | float | str | bool | None):
        shown = reprlib.repr(value)
    place = position_of(value) if is_iterator(value) and digest is None else None
    if place is not None:
        digest, shown = repr(place), str(place) if isinstance(place, int) else ""
    return Look(
        kind.__name__,
        digest,
        shown,
        is_iterator=is_iterator(value),
        is_array=_holds_arrays(value),
        has_state=hasattr(kind, "state_dict") or hasattr(kind, "get_state"),
        is_model=is_module(value) or hasattr(kind, "trainable_weights"),
        is_hidden=not is_own_class(kind) and _is_hidden(value, digest),
    )


def is_environment(kind: str) -> bool:
    """Whether this is the name of a class of environments, of which a part may be out of sight."""
    return kind.lower().endswith(("env", "environment", "wrapper"))


def _is_hidden(value: Any, digest: str | None) -> bool:
    """Whether its place cannot be told for sure: the variables of a generator that has begun tell only a part."""
    if isinstance(value, GeneratorType):
        return value.gi_frame is not None and getgeneratorstate(value) != GEN_CREATED
    return digest is None and (is_iterator(value) or is_environment(type(value).__name__))


def _digest(value: Any) -> str | None:
    if isinstance(value, Sequence | Mapping | Set) and len(value) > _MANY_ITEMS:
        return None
    try:
        return state.digest(state.capture({"it": value}))
    except (HoldfastError, RecursionError):
        return None
    except Exception:  # a class of the script's may do anything when its state is read
        return None


def _holds_arrays(value: Any) -> bool:
    """Whether it is an array or a tensor, or a tuple that begins with one, as hidden states are."""
    return (
        _holds_arrays(value[0]) if isinstance(value, tuple) and value else hasattr(type(value), "__array__")
    )


def _is_ours(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] == "holdfast":
        return True
    code = getattr(value, "gi_code", None)  # a loop of ours
    return code is not None and code.co_filename.startswith(_PACKAGE)
