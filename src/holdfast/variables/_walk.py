"""From a variable to what can change below it: its leaves, each with a key, and how to put something in its place.

The keys are what people would write: `best`, `self.best`, `env.unwrapped.state`; of an item `agents.0`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal
from weakref import ReferenceType

from ._frames import Scope, is_own_class
from ._functions import FunctionScope, kept_attributes
from ._handed import Handed
from ._kinds import (
    CONTAINERS,
    SCALARS,
    attributes,
    has_own_attributes,
    has_protocol,
    is_data,
    is_frozen_data,
    is_ignored,
    is_in_other_processes,
    is_iterator,
    is_module,
    is_object_array,
    is_of_keras,
    is_of_torch_data,
    is_rng,
    is_spread,
    is_tensor,
    items_of,
    keras_values,
    name_of_item,
    set_attribute,
    token_of_spread,
)
from ._looks.code import Running, is_code, is_dunder, parts_of
from ._looks.gradients import GRADIENT, attributes_of, gradient_of, tensors_in
from ._looks.identity import is_named
from ._looks.memory_streams import MemoryStream, is_memory_stream
from ._marks import Marks
from ._opaque.looks import Looks
from ._shared.adapted import Adapted
from ._shared.keyed import ByObject, is_by_object
from ._shared.places import has_groups

_DEEPEST = 12
_MOST_ITEMS = 1000
_TOO_MANY = f"it holds more than {_MOST_ITEMS:,} objects, and not all of them are looked at"
_TOO_DEEP = f"objects in it lie more than {_DEEPEST} levels deep, and are not looked at"
_PARTS_OF_LOADERS = ("dataset", "sampler", "batch_sampler", "data_source", "generator")

_NUMBERS_AND_TEXTS: Final[tuple[Any, ...]] = (int, float, complex, str, bytes)
Way = Literal["data", "protocol", "opaque", "named"]
Place = Callable[[Marks, str, Container[int]], Hashable | None]
"""Takes marks, a name for them, and the ids of what is saved under another name."""
Shared = Callable[[Marks, str], Hashable]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that holds something which can change.

    Attributes:
        key: of the place in its scope.
        way: how what is there is saved: as data, by its own protocol, or not at all; "named": only which object it is.
        value: what is there now.
        put: puts something else there.
        owner: the object that it is an attribute or an item of; None for a variable.
        place: of what cannot be saved: gives something that differs once it has moved; None if that cannot be told.
        why: of what is named in any case: the reason.
        items: of a container, which objects are in it, by id, in their order; 0 for data.
        is_handed: of what is only named: whether it was handed over.
        shared: of data that share memory with what was handed over: gives their mark.
    """

    key: str
    way: Way
    value: Any
    put: Callable[[Any], None]
    owner: Any = None
    place: Place | None = None
    why: str = ""
    items: tuple[int, ...] = ()
    is_handed: bool = False
    shared: Shared | None = None


class Walk:
    """Walks through the scopes of the stack, each object once: under the name that is nearest to the loop."""

    _looks_into_code = True  # of functions and classes

    def __init__(self, handed: Handed, on_stack: Iterable[Scope] = ()) -> None:
        self._handed = handed
        self._running = Running(on_stack)
        self._seen = {
            id(scope.function) for scope in on_stack if isinstance(scope, FunctionScope)
        }  # what it keeps is in its scope
        self.holders: dict[str, Any] = {}  # by key: the objects whose attributes were walked
        self.hooked: dict[str, Any] = {}  # by key: what may have hooks of torch
        self._too_deep: list[tuple[str, Any, Callable[[Any], None], Any]] = []
        self._open: list[Any] = []  # keeps what was seen alive, so that ids stay their own

    def slots(self, scope: Scope, names: Mapping[str, Any]) -> Iterator[Slot]:
        """The slots below these variables of a scope."""
        for name, value in names.items():
            if not is_dunder(name):
                yield from self._below(name, value, lambda new, name=name: scope.put(name, new), None, 0)
        for key, value, put, owner in self._too_deep:
            if id(value) not in self._seen:  # by a shorter way
                name = ".".join(key.split(".")[: 2 if key.startswith("self.") else 1])
                yield Slot(name, "opaque", value, put, owner, why=_TOO_DEEP)
        self._too_deep.clear()

    @property
    def seen(self) -> set[int]:
        """The ids of the objects that it has come across."""
        return self._seen

    def _below(
        self, key: str, value: Any, put: Callable[[Any], None], owner: Any, depth: int
    ) -> Iterator[Slot]:
        if is_module(value) or is_tensor(value) or has_groups(value):
            self.hooked[key] = value
        is_plain = is_data(value) or is_frozen_data(value)
        is_handed = self._handed.holds(value)
        is_looked_at = self._looks_into_code or is_handed or has_own_attributes(value)
        if not is_plain and is_looked_at and is_named(value):
            yield Slot(key, "named", value, put, owner, is_handed=is_handed)
        if is_plain and type(value) not in SCALARS and is_handed:
            yield Slot(key, "named", value, put, owner, is_handed=True)
        if is_module(value) and id(value) not in self._seen:
            yield from self._of_module(key, value, depth)
        if is_handed:
            return
        if is_plain:
            is_shared = self._handed.shares_memory(value)
            yield Slot(key, "data", value, put, owner, shared=self._form(value) if is_shared else None)
            for name, tensor in tensors_in(key, value):
                yield from self._on_tensor(name, tensor, depth)
            return
        if id(value) in self._seen:
            return
        if is_spread(value):
            self._seen.add(id(value))
            self._open.append(value)
            yield Slot(key, "opaque", value, put, owner, lambda *_: token_of_spread(value))
            return
        if isinstance(value, ReferenceType):  # what it refers to is looked at where it is held
            yield Slot(key, "opaque", value, put, owner, lambda *_: id(value()))
            return
        if is_by_object(value) and not self._handed.shares_memory(value):
            self._seen.add(id(value))
            self._open.append(value)
            yield Slot(key, "protocol", ByObject(value), put, owner)
            return
        if depth > _DEEPEST:
            if not is_ignored(value):
                self._too_deep.append((key, value, put, owner))
            return
        if self._looks_into_code and is_code(value):
            yield from self._in_code(key, value, depth)
            return
        if is_ignored(value):
            return
        self._seen.add(id(value))
        self._open.append(value)
        if is_own_class(type(value)):
            yield from self._in_code(f"{key}.__class__", type(value), depth)
        if is_module(value):
            if any(not self._handed.shares_memory(each) for each in [*value.parameters(), *value.buffers()]):
                yield Slot(key, "protocol", value, put, owner)
        elif is_of_keras(value):
            yield Slot(key, "protocol", keras_values(value), put, owner)
            if has_own_attributes(value):
                data = {name: each for name, each in attributes(value).items() if is_data(each)}
                yield from self._in_attributes(key, value, data, depth)
        elif is_memory_stream(value):
            yield Slot(key, "protocol", MemoryStream(value), put, owner)
        elif is_in_other_processes(value):
            yield Slot(key, "opaque", value, put, owner)
        elif isinstance(value, _NUMBERS_AND_TEXTS):  # of an own class: it would not come back as one
            yield Slot(key, "opaque", value, put, owner, lambda *_: _plain_text(value))
        elif is_of_torch_data(value) and not self._looks_into_code:  # a framework's, which knows where it is
            yield from self._in_loader(key, value, depth)
        elif has_own_attributes(value) and not is_iterator(value) and not has_protocol(value):
            yield from self._in_attributes(key, value, attributes(value), depth)
            if isinstance(value, CONTAINERS):
                yield from self._in_items(key, value, put, owner, depth)
        elif has_protocol(value):
            yield Slot(key, "protocol", value, put, owner)
            if is_own_class(type(value)):  # its own state may leave some out
                yield from self._in_attributes(key, value, kept_attributes(value), depth)
        elif isinstance(value, CONTAINERS) or is_object_array(value):
            yield from self._in_items(key, value, put, owner, depth)
        elif has_own_attributes(value):
            yield from self._in_attributes(key, value, attributes(value), depth)
        elif is_of_torch_data(value):
            yield from self._in_loader(key, value, depth)
        elif (adapted := Adapted.of(value)) is not None:
            yield Slot(key, "protocol", adapted, put, owner)
        else:
            yield Slot(key, "opaque", value, put, owner, self._look(value))

    def _form(self, value: Any) -> Shared:
        return lambda marks, name: self._handed.form_of(value, marks, name)

    def _look(self, value: Any) -> Place:
        return lambda marks, name, known: Looks(marks, name, self._handed, known).of(value)

    def _on_tensor(self, key: str, tensor: Any, depth: int) -> Iterator[Slot]:
        if id(tensor) in self._seen or self._handed.holds(tensor):
            return
        self._seen.add(id(tensor))
        self._open.append(tensor)
        self.holders[key] = tensor
        yield from self._in_attributes(key, tensor, attributes_of(tensor), depth)
        if (gradient := gradient_of(tensor)) is not None:
            yield Slot(f"{key}.{GRADIENT}", "data", gradient, _setter(tensor, GRADIENT), tensor)

    def _in_attributes(self, key: str, value: Any, found: Mapping[str, Any], depth: int) -> Iterator[Slot]:
        self.holders[key] = value
        for name, each in found.items():
            yield from self._below(
                f"{key}.{name}", each, partial(set_attribute, value, name), value, depth + 1
            )

    def _in_code(self, key: str, code: Any, depth: int) -> Iterator[Slot]:
        """What functions, methods and classes keep."""
        if not self._looks_into_code or id(code) in self._seen:
            return
        self._seen.add(id(code))
        self._open.append(code)
        self.holders[key] = code  # for an attribute that it gets later
        for part in parts_of(code, self._running):
            yield from self._below(f"{key}.{part.name}", part.value, part.put, part.owner, depth + 1)

    def _in_loader(self, key: str, value: Any, depth: int) -> Iterator[Slot]:
        """What a loader of torch, or one of its own datasets, holds of the script's own classes, and what it draws from."""
        for name in _PARTS_OF_LOADERS:
            part = vars(value).get(name)
            if has_own_attributes(part) or is_of_torch_data(part) or is_rng(part):
                yield from self._below(
                    f"{key}.{name}", part, lambda new, name=name: setattr(value, name, new), value, depth + 1
                )

    def _in_items(
        self, key: str, value: Any, put: Callable[[Any], None], owner: Any, depth: int
    ) -> Iterator[Slot]:
        items = items_of(value)
        names = [name_of_item(index) for index, _ in items]
        is_unordered = isinstance(value, set | frozenset) and len(items) > 1  # another order in each process
        if not all(
            is_ignored(each)
            and not isinstance(each, BaseException)  # which are kept to be counted
            and not (self._looks_into_code and is_code(each))
            for _, each in items
        ):  # else it is a record, such as the moments of hooks
            kinds = sorted({"" if is_data(each) else type(each).__name__ for _, each in items})
            counted = len(items), kinds, [each for _, each in items] if is_unordered or None in names else []
            why = _TOO_MANY if len(items) > _MOST_ITEMS else ""
            # What it holds is not data: it must not grow, and what is in it must stay in its place; in a list and the
            # like that is looked at item by item.
            is_by_item = self._looks_into_code and isinstance(value, list | deque | dict)
            there = (
                ()
                if is_by_item
                else tuple(0 if is_data(each) else id(each) for _, each in items[:_MOST_ITEMS])
            )
            yield Slot(key, "opaque", value, put, owner, self._look(counted), why, there)
        if is_unordered:
            return
        set_item = _setter_in_tuple(value, put) if type(value) is tuple else None
        for name, (index, each) in list(zip(names, items, strict=True))[:_MOST_ITEMS]:
            if name is not None:
                put_item = partial(set_item, index) if set_item else _item_setter(value, index)
                yield from self._below(f"{key}.{name}", each, put_item, value, depth + 1)

    def _of_module(self, key: str, module: Any, depth: int) -> Iterator[Slot]:
        """What a torch module holds besides what its `state_dict` has: attributes, buffers that are not persistent."""
        for path, each in module.named_modules():
            if id(each) in self._seen:
                continue
            if each is not module or self._handed.holds(module):
                self._seen.add(id(each))
                self._open.append(each)
            inside = f"{key}.{path}" if path else key
            self.holders[inside] = each
            for name in sorted(getattr(each, "_non_persistent_buffers_set", ())):
                buffer = each._buffers.get(name)
                if buffer is not None:
                    yield Slot(f"{inside}.{name}", "data", buffer, _setter(each, name), each)
            for name, parameter in each._parameters.items():
                if parameter is not None and vars(parameter):
                    found = attributes_of(parameter)
                    yield from self._in_attributes(f"{inside}.{name}", parameter, found, depth + 1)
            if has_own_attributes(each):
                yield from self._in_code(f"{inside}.__class__", type(each), depth)
                yield from self._in_attributes(inside, each, attributes(each), depth + 1)
            else:  # data of one that was handed over are saved with it
                is_saved = self._handed.holds(each)
                found = {
                    name: value
                    for name, value in attributes(each).items()
                    if is_code(value) or (not is_saved and is_data(value))
                }
                if found:
                    yield from self._in_attributes(inside, each, found, depth + 1)


def _plain_text(value: Any) -> str:
    base = next(each for each in _NUMBERS_AND_TEXTS if isinstance(value, each))
    return base.__repr__(value)


def _setter(owner: Any, name: str) -> Callable[[Any], None]:
    return lambda new: setattr(owner, name, new)


def _item_setter(owner: Any, index: Any) -> Callable[[Any], None]:
    if is_object_array(owner):
        return lambda new: owner.flat.__setitem__(index, new)
    return lambda new: owner.__setitem__(index, new)


def _setter_in_tuple(value: tuple[Any, ...], put: Callable[[Any], None]) -> Callable[[int, Any], None]:
    """Puts another tuple in its place, with the items that were put before."""
    items = [*value]

    def set_item(index: int, new: Any) -> None:
        items[index] = new
        put(tuple(items))

    return set_item
