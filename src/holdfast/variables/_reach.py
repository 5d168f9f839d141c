"""What the functions of the script that a framework calls may look up: the globals they mention, and what they close over.

They are found among the objects that the framework holds, and in what those functions mention: the framework calls a
hook of a callback, which calls a function of another module, which counts in a global there.
"""

from __future__ import annotations

import builtins
import dis
import functools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from ._frames import Scope, is_of_script, is_own_class, module_scope
from ._functions import scopes_of
from ._kinds import (
    CONTAINERS,
    SCALARS,
    has_own_attributes,
    has_protocol,
    is_array,
    is_data,
    is_iterator,
    is_module,
    is_rng,
    is_value,
    torch,
    values_of,
)
from ._looks.code import parts_of
from ._names import numbered

_DEEPEST: Final = 8
_DEEPEST_IN_FUNCTIONS: Final = 3
_MOST_OBJECTS: Final = 50_000
_MOST_ITEMS: Final = 1000
_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "STORE_NAME"})


@dataclass(frozen=True, slots=True)
class GlobalScope(Scope):
    """The globals of one module that these functions mention.

    Attributes:
        names: the variables; some may not be there yet.
    """

    names: Mapping[str, None]

    def variables(self) -> dict[str, Any]:
        return {name: self.namespace[name] for name in self.names if name in self.namespace}


@dataclass(frozen=True, slots=True)
class AttributeScope(Scope):
    """What a class has in attributes of its own.

    Attributes:
        owner: whose they are.
    """

    owner: type

    @property
    def identity(self) -> tuple[str, int]:
        return self.name, id(self.owner)

    def variables(self) -> dict[str, Any]:
        return {
            name: each
            for name, each in vars(self.owner).items()
            if not name.startswith("__") and _is_kept(each)
        }

    def put(self, name: str, value: Any) -> None:
        setattr(self.owner, name, value)


class Reach:
    """Looks once, from the objects on.

    Attributes:
        objects: of the script's own classes that a framework holds, data aside.
        theirs: the objects of libraries that it holds, by id, kept alive: what moves in them is the framework's affair.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.objects: list[Any] = []
        self.theirs: dict[int, Any] = {}
        self._functions: list[FunctionType] = []
        self._globals: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        self._seen: dict[int, Any] = {}
        self._kinds: dict[type, None] = {}
        self._data: set[int] = set()
        self._waiting: deque[tuple[Any, int, bool]] = deque()
        for root in roots:
            if isinstance(root, CONTAINERS):
                self._add([root], 0, is_held=True)
                continue
            self._see(root)
            self._methods(type(root))
            self._add(_attributes(root), 1, is_held=True)
        while self._waiting and len(self._seen) < _MOST_OBJECTS:
            self._visit(*self._waiting.popleft())

    def scopes(self) -> list[Scope]:
        """What the functions close over, the globals they mention, a scope for each module, and attributes of classes."""
        found: dict[str, Scope] = {each.name: each for each in scopes_of(self._functions)}
        for namespace, names in self._globals.values():
            name = module_scope(namespace)
            if names and name not in found:
                found[name] = GlobalScope(name, None, namespace, names)
        for owner in self._kinds:
            name = numbered(owner.__qualname__, found)
            found[name] = AttributeScope(name, None, {}, owner)
        return list(found.values())

    def _see(self, value: Any) -> bool:
        """Whether it is new."""
        is_new = id(value) not in self._seen
        self._seen[id(value)] = value  # alive, so that its id stays its own
        return is_new

    def _add(self, values: Iterable[Any], depth: int, *, is_held: bool = False) -> None:
        if depth <= (_DEEPEST if is_held else _DEEPEST_IN_FUNCTIONS):
            self._waiting += [(each, depth, is_held) for each in values if not _is_plain(each)]

    def _visit(self, value: Any, depth: int, is_held: bool) -> None:
        if not self._see(value):
            return
        if isinstance(value, FunctionType):
            self._function(value, 0 if is_held else depth)
        elif isinstance(value, type):
            self._methods(value)
        elif isinstance(value, MethodType):
            self._add([value.__func__, value.__self__], depth, is_held=is_held)
        elif isinstance(value, functools.partial):
            self._add([value.func, *value.args, *value.keywords.values()], depth, is_held=is_held)
        elif isinstance(value, CONTAINERS):
            self._add(values_of(value)[:_MOST_ITEMS], depth + 1, is_held=is_held)
        elif not (isinstance(value, ModuleType) or is_iterator(value) or _is_ours(value)):
            self._object(value, depth, is_held)

    def _object(self, value: Any, depth: int, is_held: bool) -> None:
        kind = type(value)
        is_own = is_own_class(kind)
        if is_held:
            self._data |= set(map(id, _data_of(value)))
            if not is_own:
                self.theirs[id(value)] = value
            elif not is_module(value) and id(value) not in self._data:
                self.objects.append(value)
        self._methods(kind)
        below = [*_attributes(value), *([value.__wrapped__] if hasattr(kind, "__wrapped__") else [])]
        # What an object of the script holds is the script's.
        self._add(below, 1 if is_own else depth + 1, is_held=is_held and not is_own)

    def _methods(self, kind: type) -> None:
        for base in kind.__mro__:
            if base not in self._kinds and is_own_class(base):
                self._kinds[base] = None
                for member in list(vars(base).values()):
                    accessors = (getattr(member, name, None) for name in ("__func__", "fget", "fset", "func"))
                    self._add([member, *accessors], 1)

    def _function(self, function: FunctionType, depth: int) -> None:
        is_own = is_of_script(function.__code__.co_filename)
        self._add([part.value for part in parts_of(function)], 1 if is_own else depth + 1)
        if not is_own:
            return
        self._functions.append(function)
        globals_, attributes = names_in(function.__code__)
        self._mention(function.__globals__, globals_, attributes)

    def _mention(self, namespace: dict[str, Any], names: Iterable[str], attributes: Sequence[str]) -> None:
        _, known = self._globals.setdefault(id(namespace), (namespace, {}))
        for name in names:
            if name in known or (name not in namespace and hasattr(builtins, name)):
                continue
            known[name] = None
            value = namespace.get(name)
            self._add([value], 1)
            if isinstance(value, ModuleType) and is_of_script(getattr(value, "__file__", None) or "<frozen>"):
                inside = vars(value)
                self._mention(inside, [each for each in attributes if each in inside], ())


@lru_cache(maxsize=4096)
def names_in(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The globals that code mentions, and the attributes, those of the functions in it included."""
    globals_: dict[str, None] = {}
    attributes: dict[str, None] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL:
            globals_[instruction.argval] = None
        elif instruction.opname.endswith(("_ATTR", "_METHOD")):
            attributes[instruction.argval] = None
    for const in code.co_consts:
        if isinstance(const, CodeType):
            inside, below = names_in(const)
            globals_ |= dict.fromkeys(inside)
            attributes |= dict.fromkeys(below)
    return tuple(globals_), tuple(attributes)


def _attributes(value: Any) -> list[Any]:
    return list(getattr(value, "__dict__", {}).values())


def _is_plain(value: Any) -> bool:
    return type(value) in SCALARS or is_array(value) or is_rng(value) or is_value(value)


def _is_kept(value: Any) -> bool:
    """Whether it may be more than a part of the code."""
    return (
        is_data(value)
        or is_iterator(value)
        or isinstance(value, CONTAINERS)
        or has_own_attributes(value)
        or (has_protocol(value) and not isinstance(value, type))
    )


def _is_ours(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "holdfast"


def is_loader(value: Any) -> bool:
    """Whether it is a loader of torch, whose place is saved with that in the data."""
    return torch() is not None and isinstance(value, torch().utils.data.DataLoader)


def _data_of(value: Any) -> list[Any]:
    """What is saved with the place in the data: what a loader reads."""
    if is_loader(value):
        return [getattr(value, name, None) for name in ("dataset", "sampler", "batch_sampler")]
    return [value] if torch() is not None and isinstance(value, torch().utils.data.Dataset) else []
