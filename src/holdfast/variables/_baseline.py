"""What the variables of the script were when the loop began."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection, Container, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ._frames import Scope, is_own_class
from ._kinds import CONTAINERS, SCALARS
from ._liveness import written_names
from ._looks.flags import flags_of
from ._looks.identity import Referent
from ._made.structure import is_stateful, structure_of
from ._marks import Marks
from ._shared.keyed import held_in
from ._walk import Slot

_NO_SCALAR: Final = object()


@dataclass(frozen=True, slots=True)
class Before:
    """Of one slot: its mark, which object it was, the value itself if it is a scalar, what was in it if it is a container, its flags."""

    mark: Hashable
    get: Callable[[], Any]
    scalar: Any = _NO_SCALAR
    items: tuple[int, ...] = ()
    flags: str = ""

    @property
    def is_scalar(self) -> bool:
        return self.scalar is not _NO_SCALAR

    @property
    def kind(self) -> Any:
        """The type of data that are no array."""
        return self.mark[0] if isinstance(self.mark, tuple) and self.mark else None

    def was(self, value: Any) -> bool:
        """Whether this very object was there."""
        return self.get() is held_in(value)


def _reference(value: Any) -> Callable[[], Any]:
    """To an object that is not kept alive, but for lists and dicts, which only this tells from others at the same address."""
    value = held_in(value)
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def _gone() -> None:
    return None


@dataclass(slots=True)
class _Known:
    """Of one scope. `names` are those that were there when the outer loop began; others that have a past were made in this turn of it."""

    names: set[str]
    slots: dict[str, Before] = field(default_factory=dict)
    named: dict[str, Referent] = field(default_factory=dict)


class Baseline:
    """The past of all scopes. What an object holds has one past, whichever variables lead to it."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._scopes: dict[tuple[str, int], _Known] = {}
        self._outer: set[tuple[str, int]] = set()
        self._owned: dict[tuple[int, str], Before] = {}
        self._places: dict[int, str] = {}  # of what was handed over, by id
        self._named_by: dict[tuple[int, str], Referent] = {}
        self._objects: dict[
            int, Before
        ] = {}  # by id; a walk finds each once, perhaps by another name the next time
        self._owners: dict[int, Any] = {}  # kept alive, so that ids stay their own

    def __contains__(self, scope: Scope) -> bool:
        return scope.identity in self._scopes

    @property
    def is_empty(self) -> bool:
        return not self._scopes

    def names_of(self, scope: Scope) -> set[str]:
        """The variables that were there when the outer loop began."""
        return self._scopes[scope.identity].names

    def is_of_outer_loop(self, scope: Scope) -> bool:
        """Whether it was there when the outer loop began."""
        return scope.identity in self._outer

    def ids_before_loop(self) -> set[int]:
        """Ids of the objects that variables named when the outer loop began, as far as they are still there."""
        known = [each for identity, each in self._scopes.items() if identity in self._outer]
        firsts = [
            referent.get()
            for each in known
            for key, referent in each.named.items()
            if key.partition(".")[0] in each.names
        ]
        return {id(each) for each in firsts if each is not None}

    def is_younger(self, value: Any, scopes: Iterable[Scope]) -> bool:
        """Whether something was not there yet when the outer loop began: it is in later variables only, or in none."""
        variables = [(scope, *each) for scope in scopes for each in scope.variables().items()]
        holders = [(scope, name) for scope, name, each in variables if each is value]
        if not holders:
            return not _is_held(value, {id(each) for _, _, each in variables})
        return all(
            scope.identity in self._outer and name not in self._scopes[scope.identity].names
            for scope, name in holders
        )

    def begin(self, scopes: Iterable[Scope], *, is_inner: bool) -> Iterator[tuple[Scope, dict[str, Any]]]:
        """A loop begins: each scope, with those of its variables whose past begins now; `take` is to be called for them."""
        scopes = list(scopes)
        for scope in scopes:
            variables = scope.variables()
            known = self._scopes.get(scope.identity)
            if known is None or (is_inner and scope.identity not in self._outer):
                self._scopes[scope.identity] = _Known(set(variables))
                yield scope, variables
                continue
            new = {name: value for name, value in variables.items() if name not in known.names}
            if is_inner:  # in another turn of the outer loop they have another past
                made = written_names(scope.frame)  # those of an earlier turn are not made again by a resume
                new = {name: value for name, value in new.items() if name in made}
                for past in (known.slots, known.named):
                    for key in [key for key in past if key.partition(".")[0] not in known.names]:
                        del past[key]
            else:
                known.names |= new.keys()
            yield scope, new
        if not is_inner:
            self._outer = {scope.identity for scope in scopes}

    def take(
        self, scope: Scope, slots: Iterable[Slot], place_of: Callable[[int], str | None] | None = None
    ) -> None:
        """This is what the slots were; of what an object holds only if that is not known yet.

        `place_of`: the place of what was handed over, by id, where that may change.
        """
        for slot in slots:
            if slot.way == "named":
                structure = structure_of(slot.value) if is_stateful(slot.value) else None
                first = self._scopes[scope.identity].named[slot.key] = Referent(slot.value, structure)
                if slot.is_handed and place_of is not None and (place := place_of(id(slot.value))):
                    self._places.setdefault(id(slot.value), place)
                if slot.owner is not None:
                    self._named_by.setdefault(_owned_key(slot), first)
                    self._owners[id(slot.owner)] = slot.owner
                continue
            is_scalar = slot.way == "data" and type(slot.value) in SCALARS
            if slot.owner is not None and self.of(scope, slot) is not None:
                continue
            scalar = slot.value if is_scalar else _NO_SCALAR
            flags = "" if slot.way == "opaque" else flags_of(slot.value)
            before = Before(self.mark_of(scope, slot), _reference(slot.value), scalar, slot.items, flags)
            if slot.way != "data" and slot.owner is None:
                self._objects[id(slot.value)] = before
                self._owners[id(slot.value)] = slot.value
            if slot.owner is None:
                self._scopes[scope.identity].slots[slot.key] = before
            else:
                self._owned[_owned_key(slot)] = before
                self._owners[id(slot.owner)] = slot.owner

    def of(self, scope: Scope, slot: Slot) -> Before | None:
        """What the slot was; None if it was not there."""
        if slot.owner is not None:
            return self._owned.get(_owned_key(slot))
        known = self._scopes.get(scope.identity)
        found = None if known is None else known.slots.get(slot.key)
        return self._objects.get(id(slot.value)) if found is None and slot.way != "data" else found

    def let_go(self, scope: Scope, slot: Slot) -> None:
        """Another object is there now, as it is from here on, whatever is there: the first one need not be known any more."""
        before = self.of(scope, slot)
        if before is None or before.get is _gone:
            return
        gone = replace(before, get=_gone)
        if slot.owner is not None:
            self._owned[_owned_key(slot)] = gone
        elif (known := self._scopes.get(scope.identity)) is not None and slot.key in known.slots:
            known.slots[slot.key] = gone

    def named_by(self, scope: Scope, slot: Slot) -> Referent | None:
        """The object that this slot named, if it was no data; that of an attribute wherever its owner is by now."""
        owned = None if slot.owner is None else self._named_by.get(_owned_key(slot))
        return self.named(scope, slot.key) if owned is None else owned

    def first_of(self, owner: Any, name: str) -> Referent | None:
        """The object that an attribute or item of this name named, if it was no data."""
        return self._named_by.get((id(owner), name))

    def firsts(self, scopes: Iterable[Scope]) -> Iterator[tuple[str, Any, Hashable]]:
        """The objects that are no data and were there when the loop began: `scope/key`, the object, how it is built."""
        for path, referent in self._firsts(scopes):
            if (value := referent.get()) is not None:
                yield path, value, referent.structure

    def _firsts(self, scopes: Iterable[Scope]) -> Iterator[tuple[str, Referent]]:
        for scope in scopes:
            known = self._scopes.get(scope.identity)
            yield from (
                (f"{scope.name}/{key}", each) for key, each in ({} if known is None else known.named).items()
            )

    def has_owner(self, value: Any) -> bool:
        """Whether this object, or one that it held, was there when the loop began."""
        return self._owners.get(id(value)) is value

    def first_place(self, value: Any) -> str | None:
        """Where in what was handed over the object was when the loop began; None if that does not change."""
        return self._places.get(id(value))

    def named(self, scope: Scope, key: str) -> Referent | None:
        """The object that a variable, an attribute or an item of this name named, if it was no data."""
        known = self._scopes.get(scope.identity)
        return None if known is None else known.named.get(key)

    def was_data(self, scope: Scope, slot: Slot) -> bool:
        """Whether there were data in place of an object that is there now."""
        if slot.owner is not None:
            return _owned_key(slot) in self._owned
        known = self._scopes.get(scope.identity)
        return known is not None and slot.key in known.slots

    def first_names(self, scopes: Iterable[Scope]) -> dict[int, str]:
        """By the id of each object that variables of these scopes named, and that is still there: `scope/key`, variables first."""
        found: dict[int, str] = {}
        for path, value, _ in self.firsts(scopes):
            if id(value) not in found or path.count(".") < found[id(value)].count("."):
                found[id(value)] = path
        return found

    def has_changed(self, scope: Scope, slot: Slot) -> bool:
        """Whether the slot is not what it was; new ones are not."""
        before = self.of(scope, slot)
        return before is None or before.mark != self.mark_of(scope, slot)

    def has_moved(self, scope: Scope, slot: Slot, known: Container[int]) -> bool:
        """Whether what cannot be saved may be elsewhere than it was; what is `known` in it is saved under another name."""
        before, now = self.of(scope, slot), self.mark_of(scope, slot, known)
        if slot.why or now is None:
            return True
        if before is None:  # where a container has grown, that is said of the container
            return not isinstance(slot.owner, CONTAINERS)
        return before.mark != now or _have_moved(before.items, slot.items)

    def mark_of(self, scope: Scope, slot: Slot, known: Container[int] = ()) -> Hashable:
        """What is equal as long as the slot's content is what it was."""
        name = f"{scope.name}/{slot.key}"
        match slot.way:
            case "data":
                return (
                    self._marks.of(slot.value, name)
                    if slot.shared is None
                    else slot.shared(self._marks, name)
                )
            case "protocol":
                return self._marks.of_state(slot.value, name)
            case "named":
                return "named", id(slot.value)
            case _:
                return None if slot.place is None else slot.place(self._marks, name, known)


def _have_moved(before: tuple[int, ...], now: tuple[int, ...]) -> bool:
    """Whether objects are in another order; those that are new are looked into, and saved where they stand."""
    if before == now:
        return False
    places = {each: index for index, each in enumerate(before) if each}
    return any(places.get(each, index) != index for index, each in enumerate(now))


def _owned_key(slot: Slot) -> tuple[int, str]:
    return id(slot.owner), slot.key.rpartition(".")[2]


def _is_held(value: Any, variables: Collection[int]) -> bool:
    """Whether an object of the script's own classes has it, or a container that is one of these variables, by id."""
    for holder in gc.get_referrers(value):
        if is_own_class(type(holder)):
            return True
        if isinstance(holder, dict | list | tuple | set) and (id(holder) in variables or _is_owned(holder)):
            return True
    return False


def _is_owned(container: Any) -> bool:
    """Whether it is the attributes, or an attribute, of an object of the script's own classes."""
    return any(
        is_own_class(type(each))
        or (type(each) is dict and any(is_own_class(type(owner)) for owner in gc.get_referrers(each)))
        for each in gc.get_referrers(container)
    )
