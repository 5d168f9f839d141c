"""What a framework holds, in place of the script's variables: attributes of its callbacks and models, and what its functions of the script reach.

What the classes of the framework set themselves is its own affair.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, Final, final

from ._frames import Scope, is_own_class
from ._handed import Handed
from ._kinds import (
    CONTAINERS,
    attributes,
    has_protocol,
    is_data,
    is_iterator,
    is_module,
    is_of_keras,
    is_tensor,
)
from ._names import numbered
from ._reach import Reach, is_loader
from ._walk import Slot, Walk

HELD: Final = "held"
"""The scope of what these objects hold."""


@final
class Held:
    """Objects by name, looked at again each time; of those of other people's classes only modules.

    Args:
        skips_tensors: whether tensors in attributes of the modules that were handed over are saved elsewhere.
        roots: called for that from which all else is found that the framework calls: functions of the script, whose
            globals and closures count, and objects of its classes.
        others: called for what saves itself.
    """

    def __init__(
        self,
        objects: Callable[[], Mapping[str, Any]],
        *,
        skips_tensors: bool = False,
        roots: Callable[[], Iterable[Any]] = tuple,
        others: Callable[[], Iterable[Any]] = tuple,
    ) -> None:
        self._objects, self._skips_tensors = objects, skips_tensors
        self._roots, self._others = roots, others
        self._namespace: dict[str, Any] = {}
        self._reach = Reach(())
        self._found: list[Any] = []  # besides the objects
        self._called: list[Scope] = []

    def begin(self) -> None:
        """The training begins: find what the framework calls."""
        self._reach = Reach(self._roots())
        known = {*map(id, self._objects().values()), *map(id, self._others())}
        self._called = self._reach.scopes()
        self._found = [each for each in self._reach.objects if id(each) not in known]

    def scopes(self) -> list[Scope]:
        """One with the objects as its variables, and those of the functions that are called."""
        self._namespace.clear()
        self._namespace |= {
            name: each
            for name, each in self._objects().items()
            if is_module(each) or is_own_class(type(each))
        }
        for each in self._found:
            self._namespace[numbered(type(each).__name__, self._namespace)] = each
        return [_HeldScope(HELD, None, self._namespace), *self._called]

    def walk(self, handed: Handed, on_stack: Iterable[Scope] = ()) -> Walk:
        """A walk through their attributes, and through the variables of functions; `on_stack` is not looked at."""
        theirs = {*self._reach.theirs, *map(id, self._namespace.values()), *map(id, self._others())}
        return _HeldWalk(handed, theirs, skips_tensors=self._skips_tensors)


class _HeldScope(Scope):
    @property
    def identity(self) -> tuple[str, int]:
        return self.name, id(self.namespace)

    def variables(self) -> dict[str, Any]:
        return dict(self.namespace)


class _HeldWalk(Walk):
    _looks_into_code = False  # what a framework calls has scopes of its own

    def __init__(self, handed: Handed, theirs: Collection[int], *, skips_tensors: bool) -> None:
        super().__init__(handed)
        self._theirs, self._skips_tensors = theirs, skips_tensors
        self._is_among_held = True

    def slots(self, scope: Scope, names: Mapping[str, Any]) -> Iterator[Slot]:
        self._is_among_held = scope.name == HELD
        yield from super().slots(scope, names)

    def _below(
        self, key: str, value: Any, put: Callable[[Any], None], owner: Any, depth: int
    ) -> Iterator[Slot]:
        if not self._is_among_held:
            if id(value) not in self._theirs and not is_loader(value):
                yield from super()._below(key, value, put, owner, depth)
        elif owner is None:  # one of the objects themselves
            if is_module(value):
                yield from self._of_module(key, value, depth)
            else:
                yield from self._in_attributes(key, value, attributes(value), depth)
        elif not _is_of_a_framework(value, owner):
            yield from super()._below(key, value, put, owner, depth)

    def _in_attributes(self, key: str, value: Any, found: Mapping[str, Any], depth: int) -> Iterator[Slot]:
        is_saved_here = is_module(value) and not self._handed.holds(value)  # such as a metric of torchmetrics
        theirs = frozenset[str]() if is_saved_here else _set_by_libraries(type(value))
        own = {name: each for name, each in found.items() if name not in theirs}
        yield from super()._in_attributes(key, value, own, depth)

    def _of_module(self, key: str, module: Any, depth: int) -> Iterator[Slot]:
        for slot in super()._of_module(key, module, depth):
            is_elsewhere = self._skips_tensors and self._is_among_held and self._handed.holds(slot.owner)
            if not (is_elsewhere and is_tensor(slot.value) and is_module(slot.owner)):
                yield slot


def _is_of_a_framework(value: Any, owner: Any) -> bool:
    """Whether an object is of a package that the owner's class is derived from, and no state of a training."""
    if (
        is_data(value)
        or is_module(value)
        or is_of_keras(value)
        or has_protocol(value)
        or is_iterator(value)
        or isinstance(value, CONTAINERS)
    ):
        return False
    return _package(type(value)) in {_package(kind) for kind in _libraries_of(type(owner))}


def _libraries_of(kind: type) -> list[type]:
    """The classes that this one is derived from, and that are not the user's own."""
    return [base for base in kind.__mro__ if base is not object and not is_own_class(base)]


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


@lru_cache(maxsize=4096)
def _set_by_libraries(kind: type) -> frozenset[str]:
    """The attributes that code of classes sets that are not the user's own, and that this one is derived from."""
    codes = [
        code for base in _libraries_of(kind) for member in vars(base).values() for code in _codes(member)
    ]
    return frozenset(
        step.argval for code in codes for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"
    )


def _codes(member: Any) -> Iterator[CodeType]:
    accessors = (getattr(member, name, None) for name in ("fget", "fset", "__func__"))
    for each in (member, *accessors):
        while each is not None:
            if isinstance(code := getattr(each, "__code__", None), CodeType):
                yield code
            each = getattr(each, "__wrapped__", None)
