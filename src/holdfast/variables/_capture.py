"""One save: which slots have changed, and what of them is saved."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Sequence, Set
from functools import cached_property
from types import MethodType
from typing import Any, Final

from .. import state
from ..data import may_forget
from ..errors import UnsupportedStateError
from ._baseline import Baseline
from ._frames import Scope
from ._handed import Handed
from ._kinds import (
    CONTAINERS,
    SCALARS,
    device_of,
    has_own_attributes,
    is_array,
    is_frozen_data,
    is_rng,
    is_value,
    state_of,
    values_of,
)
from ._looks import identity
from ._looks.clocks import Clocks
from ._looks.code import is_code
from ._looks.flags import flags_of
from ._looks.identity import Referent
from ._looks.order_read import is_order_read
from ._looks.sets import loses, loses_order
from ._made.making import text_of_container
from ._made.noting import Newcomers, can_be_noted, items_are_known
from ._made.noting import sentence as newcomer_sentence
from ._made.structure import CONTAINERS_MADE, keys_of
from ._names import FORGETS, sentence
from ._saved import Facts, lost_in
from ._shared.adapted import Adapted
from ._shared.keyed import BY_ID, BY_IDS, BY_OBJECT, WITHOUT_PLACE, ByObject, as_saved, held_in, ids_in
from ._shared.memory import can_be_filled
from ._shared.places import HANDED, root_of_text
from ._shared.sharing import TOO_MANY, Sharing, can_change, without
from ._walk import Slot

_MOST_BYTES: Final = 4 << 30
_MOST_ARRAYS: Final = 50_000
_OF_NO_CLASS: Final = (
    "there was nothing of its class when the loop began, and only that would say which class it is"
)


class Capture:
    """Collects what has changed.

    Args:
        sticky: what has changed once, by `scope/key`: saved from then on without another look.
        clocks: what shows a clock is no state.
        scopes: all that are looked at.
        keeps: whether values are saved, rather than only named.
        prepared: ids of what the script makes again before a resume is in the loop.
        say: the sentence for what is named, by key, value and reason.

    Attributes:
        values: what is to be saved, live, by scope and key.
        facts: what else is to be known of them.
    """

    def __init__(
        self,
        handed: Handed,
        baseline: Baseline,
        sticky: set[str],
        clocks: Clocks,
        scopes: Sequence[Scope],
        *,
        keeps: bool,
        prepared: Container[int] = (),
        say: Callable[[str, Any, str], str] = sentence,
    ) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self.facts = Facts()
        self._handed, self._baseline, self._sticky, self._clocks = handed, baseline, sticky, clocks
        self._sharing = Sharing(handed.objects, handed.has_memory_of)
        self._scopes, self._keeps = scopes, keeps
        self._say = lambda key, value, why: say(key, held_in(value), why)
        self._newcomers = Newcomers(handed, baseline, self._sharing, lambda: baseline.firsts(scopes))
        self._prepared = prepared
        self._there: set[str] = set()  # of what is no data: where a resume finds the object that is meant
        self._present: set[int] = set()  # of what is no data: all that is named, by id
        self._anew: list[tuple[Scope, Slot, Referent]] = []  # and what is another one of the same kind
        self._opaque: list[tuple[Scope, Slot, str, str]] = []  # with its name, and why it is not saved
        self._known: set[int] = set()  # ids of what is data, or has a protocol
        self._lost: set[str] = set()  # keys of what is another object, and is not saved
        self._ids: dict[str, list[int]] = {}  # by path, what may find objects by their ids
        self._equal: dict[
            str, tuple[Slot, Scope]
        ] = {}  # by path, what is another object, and equal to the first one
        self._live: dict[str, Any] = {}  # by path, what is saved
        self._flags: dict[str, tuple[str, bool]] = {}  # by path, and whether they are others
        self._first: dict[int, str] = {}  # of objects that can change: the first path

    def add(self, scope: Scope, slots: Iterable[Slot]) -> None:
        """Save of these slots what has changed."""
        for slot in slots:
            if slot.way == "named":
                self._name(slot, scope)
                continue
            if slot.way == "opaque":
                self._opaque.append((scope, slot, slot.key, ""))
                continue
            if type(slot.value) not in SCALARS:
                self._known.add(id(held_in(slot.value)))
                self._look_at_flags(slot, scope)
            if not self._has_changed(slot, scope):
                self._stays(slot, scope)
            elif self._clocks.has_shown(slot.key, slot.value):
                continue
            elif self._keeps:
                self._save(slot, scope)
            else:
                self.facts.unsaved[slot.key] = self._say(slot.key, slot.value, "")

    def name(self, scope: Scope, slots: Iterable[Slot], named: Callable[[str], str], why: str) -> None:
        """Only name what has changed: `named` gives the name of a key, and `why` says why it is not saved."""
        for slot in slots:
            if slot.way == "named":
                continue
            if slot.way == "opaque":
                self._opaque.append((scope, slot, named(slot.key), why))
                continue
            is_known = id(slot.value) in self._known or self._clocks.has_shown(slot.key, slot.value)
            if not is_known and (self._has_changed(slot, scope) or self._has_other_flags(slot, scope)):
                self.facts.unsaved[named(slot.key)] = self._say(named(slot.key), slot.value, why)

    def beside(self) -> Capture:
        """For what is only named, and knows what this one saves."""
        made = Capture(
            self._handed, self._baseline, self._sticky, self._clocks, self._scopes, keeps=False, say=self._say
        )
        made._known = self._known
        return made

    def finish(self, seen: Iterable[int]) -> None:
        """Name what cannot be saved and has moved, now that all is known that is saved; `seen`: ids of what has a name."""
        self._sort_out()
        if self._keeps:
            self._share()
            self._note_flags()
        self._lose_ids({*self._present, *seen})
        known = {*self._known, *seen}
        for scope, slot, key, why in self._opaque:
            if self._baseline.has_moved(scope, slot, known):
                said = f"{key} may have changed and is not saved: {slot.why}" if slot.why else ""
                self.facts.unsaved[key] = said or self._say(key, slot.value, why)

    def _name(self, slot: Slot, scope: Scope) -> None:
        """Save the name that leads to the object which is there now, if it is another one."""
        before, now, path = self._baseline.named_by(scope, slot), slot.value, f"{scope.name}/{slot.key}"
        self._present.add(id(now))
        if before is not None and before.get() is now:
            first = self._baseline.first_place(now) if slot.is_handed else None
            place = None if first is None else self._sharing.place_of(id(now))
            self._there.add(path)
            if place not in (None, first):  # in a list, say, that has another order now
                self._refer(slot, scope, place)
            return
        is_new = before is None and slot.owner is not None and not self._baseline.was_data(scope, slot)
        if is_new and _shadows_a_method(slot):
            self._lose(slot)
            return
        if is_new and is_code(slot.owner) and not isinstance(slot.owner, type):  # which is named itself
            return
        data = self._baseline.of(scope, slot) if before is None else None
        if data is not None and data.was(now):  # it holds objects by now
            self._there.add(path)
            return
        is_within_new = self._newcomers.has(slot.owner)
        if is_new and is_code(now) and not is_within_new and not isinstance(slot.owner, CONTAINERS):
            is_known = id(now) in self._first_names and self._baseline.has_owner(slot.owner)
            if not (slot.is_handed or (is_known and has_own_attributes(slot.owner))):
                return
        if slot.is_handed and (place := self._sharing.place_of(id(now))) is not None:
            self._refer(slot, scope, place)
        elif (first := self._first_names.get(id(now))) is not None:
            self._refer(slot, scope, f"={first}")
        elif slot.is_handed:
            self._there.add(path)
        elif isinstance(now, MethodType) and before is not None and before.get() == now:
            self._there.add(path)  # another look at the same method
        elif (method := self._method_name(now)) is not None:
            self._refer(slot, scope, method)
        elif before is not None and before.is_like(now) and before.fits(now):
            self._anew.append((scope, slot, before))
        elif (name := identity.name_of(now, None if before is None else before.get())) is not None:
            self._refer(slot, scope, name)
        elif id(now) in self._prepared:
            self._there.add(path)
        elif is_within_new or can_be_noted(now):
            self._newcomers.add(scope, slot)
        elif not identity.is_told_by_looks(now) and (
            before is not None or (is_code(now) and self._baseline.was_data(scope, slot))
        ):
            self._lose(slot)

    def _sort_out(self) -> None:
        """What a new object holds is put into the first one, which the script makes, unless that is still in use elsewhere."""
        for scope, slot, before in self._anew:
            first = before.get()
            if first is None or not (id(first) in self._present or self._handed.holds(first)):
                self._there.add(f"{scope.name}/{slot.key}")
            elif can_be_noted(slot.value):
                self._newcomers.add(scope, slot)
            else:
                self._lose(slot)
        self._newcomers.settle()
        if self._keeps:
            self.facts.made, self.facts.objects = (
                self._newcomers.made,
                self.facts.objects | self._newcomers.objects,
            )
            self._hold()
        else:
            for path in self._newcomers.made:
                key, value = path.partition("/")[2], self._newcomers.value_at(path)
                self.facts.unsaved[key] = self._say(key, value, "variables='watch'")
        for path, why in self._newcomers.lost.items():
            self._lose_newcomer(path, why)
        for path in [*self.facts.objects]:  # what is in another object has no place in the first one
            key = path.partition("/")[2]
            if any(key.startswith(f"{each}.") for each in self._lost):
                del self.facts.objects[path]

    def _hold(self) -> None:
        """Note which items containers of objects have, where these are others now."""
        left: list[tuple[Scope, Slot, str, str]] = []
        for scope, slot, key, why in self._opaque:
            path = f"{scope.name}/{slot.key}"
            if not self._is_held_anew(path, scope, slot):
                left.append((scope, slot, key, why))
            elif (text := text_of_container(slot.value, is_first=self._is_first(scope, slot))) is not None:
                self.facts.held[path] = text
        self._opaque = left

    def _is_held_anew(self, path: str, scope: Scope, slot: Slot) -> bool:
        """Whether it is a container that is another one now, or has other items, each of which comes back."""
        if slot.why or type(slot.value) not in CONTAINERS_MADE.values() or keys_of(slot.value) is None:
            return False

        def comes_back(item: str) -> bool:
            is_made = item in self._newcomers and self._newcomers.root_of(item) not in self._newcomers.lost
            return item in self._there or item in self.facts.objects or is_made

        is_moved = path in self._newcomers or self._baseline.has_moved(scope, slot, self._known)
        return is_moved and items_are_known(path, slot.value, comes_back)

    def _is_first(self, scope: Scope, slot: Slot) -> bool:
        """Whether the container is the one that was there when the loop began."""
        named, data = self._baseline.named_by(scope, slot), self._baseline.of(scope, slot)
        if named is not None:
            return f"{scope.name}/{slot.key}" not in self._newcomers
        return data is not None and data.was(slot.value)

    def _lose_newcomer(self, path: str, why: str) -> None:
        """Name an object that was made in the loop and cannot be made again, and save nothing of it."""
        key = path.partition("/")[2]
        below = f"{path}."

        def is_of_it(each: str) -> bool:
            return each == path or each.startswith(below)

        for scope, values in self.values.items():
            for each in [each for each in values if is_of_it(f"{scope}/{each}")]:
                self._drop(f"{scope}/{each}", why)
        for found in (self.facts.objects, self.facts.made, self.facts.held, self._flags, self.facts.same):
            for each in [each for each in found if is_of_it(each)]:
                del found[each]
        unsaved = self.facts.unsaved
        for each in [each for each in unsaved if each == key or each.startswith(f"{key}.")]:
            del unsaved[each]
        self._opaque = [each for each in self._opaque if not is_of_it(f"{each[0].name}/{each[1].key}")]
        self._equal = {each: found for each, found in self._equal.items() if not is_of_it(each)}
        self._sharing.leave(is_of_it)
        unsaved[key] = newcomer_sentence(key, self._newcomers.value_at(path), why)

    def _lose(self, slot: Slot) -> None:
        """Another object is there, and cannot be saved; of a container's items the container is named, and once."""
        is_item = isinstance(slot.owner, CONTAINERS)
        key = slot.key.rpartition(".")[0] if is_item else slot.key
        self._lost.add(slot.key)
        self.facts.unsaved.setdefault(key, identity.sentence(slot.key, slot.value, to_ignore=key))

    def _refer(self, slot: Slot, scope: Scope, name: str) -> None:
        if self._keeps:
            self.facts.objects[f"{scope.name}/{slot.key}"] = name
        else:
            self.facts.unsaved[slot.key] = (
                f"{slot.key} names another object now, and is not saved: variables='watch'"
            )

    @cached_property
    def _first_names(self) -> dict[int, str]:
        return self._baseline.first_names(self._scopes)

    def _has_changed(self, slot: Slot, scope: Scope) -> bool:
        path = f"{scope.name}/{slot.key}"
        if path not in self._sticky and self._baseline.has_changed(scope, slot):
            self._sticky.add(path)
        return path in self._sticky

    def _has_other_flags(self, slot: Slot, scope: Scope) -> bool:
        before = self._baseline.of(scope, slot)
        return before is not None and before.flags != flags_of(slot.value)

    def _look_at_flags(self, slot: Slot, scope: Scope) -> None:
        """Note them where they are others; what is made anew by a resume has none."""
        before, now = self._baseline.of(scope, slot), flags_of(slot.value)
        is_other = now != before.flags if before is not None else bool(now)
        if is_other and not self._keeps:
            self.facts.unsaved[slot.key] = self._say(slot.key, slot.value, "")
        elif is_other or (now and slot.way == "data"):
            self._flags[f"{scope.name}/{slot.key}"] = now, is_other

    def _stays(self, slot: Slot, scope: Scope) -> None:
        """What is equal to what it was need not be saved, unless it is another object, which is elsewhere, too."""
        if not self._keeps or slot.way != "data":
            return
        path, before = f"{scope.name}/{slot.key}", self._baseline.of(scope, slot)
        is_new = (
            slot.shared is None
            and before is not None
            and can_change(slot.value)
            and not before.was(slot.value)
        )
        if is_new:
            self._equal[path] = slot, scope
        self._sharing.add(path, slot.value, is_new=is_new, is_within=self._is_within(scope))

    def _is_within(self, scope: Scope) -> bool:
        return not self._baseline.is_of_outer_loop(scope)

    def _share(self) -> None:
        """Note what is at several places, and save nothing that cannot be put at all of them."""
        pairs, lost = self._sharing.find()
        roots = {root_of_text(each) for each in (*pairs, *pairs.values())} | {*lost}
        for path, (slot, scope) in self._equal.items():
            if path in roots:
                self._sticky.add(path)
                self._save(slot, scope)
        keyed = roots & self.facts.keyed.keys()
        lost |= dict.fromkeys(keyed, "what it holds is elsewhere, too")
        self.facts.shared = {
            target: source
            for target, source in pairs.items()
            if keyed.isdisjoint((root_of_text(target), root_of_text(source)))
        }
        for root, why in lost.items():
            self._drop(root, why, keeps=why == TOO_MANY)

    def _note_flags(self) -> None:
        there = {f"{scope}/{key}" for scope, values in self.values.items() for key in values}
        self.facts.flags = {
            path: now for path, (now, is_other) in self._flags.items() if is_other or path in there
        }

    def _drop(self, path: str, why: str, *, keeps: bool = False) -> None:
        """Name what cannot be saved after all; with `keeps`, save it, and name it."""
        facts, (scope, _, key) = self.facts, path.partition("/")
        if path.startswith(HANDED):
            facts.unsaved[path.removeprefix(HANDED)] = f"{path.removeprefix(HANDED)}: {why}"
            return
        same = [each for each, first in facts.same.items() if first == path]
        for each in (path, *same):
            name = each.partition("/")[2]
            facts.unsaved[name] = self._say(name, self._live.get(path), why)
        if keeps:
            return
        self.values.get(scope, {}).pop(key, None)
        facts.rebound = [each for each in facts.rebound if each != path]
        for found in (facts.keyed, facts.devices, facts.named):
            found.pop(path, None)
        for each in same:
            del facts.same[each]
        facts.shared = {
            target: source
            for target, source in facts.shared.items()
            if path not in (root_of_text(target), root_of_text(source))
        }

    def _lose_ids(self, present: Set[int]) -> None:
        """Name what finds objects by ids that could not be saved as their places."""
        for path, ids in self._ids.items():
            if not present.isdisjoint(ids) or any(map(self._place_of, ids)):
                self._drop(path, BY_IDS)

    def _place_of(self, key: int) -> str | None:
        """What leads to the object of this id: a place in what was handed over, or where it was when the loop began."""
        first = self._first_names.get(key)
        return self._sharing.place_of(key) or (None if first is None else f"={first}")

    def _method_name(self, value: Any) -> str | None:
        place = self._place_of(id(value.__self__)) if isinstance(value, MethodType) else None
        return None if place is None else identity.method_name(value, place)

    def _name_of(self, value: Any) -> str | None:
        return self._place_of(id(value)) or identity.name_of(value, None)

    def _as_saved(self, slot: Slot, path: str) -> Any:
        """The value as it is saved; raises if that cannot be."""
        value, facts = slot.value, self.facts
        if isinstance(value, ByObject):
            saved = as_saved(value.held, self._name_of)
            if saved is None:
                raise LookupError(WITHOUT_PLACE)
            facts.keyed[path] = BY_OBJECT
            return saved
        if slot.way == "protocol":
            return state_of(value)
        if ids := ids_in(value):
            is_all = (
                isinstance(value, dict) and len(ids) == len(value) and all(type(key) is int for key in value)
            )
            saved = as_saved(value, self._place_of) if is_all else None
            if saved is not None:
                facts.keyed[path] = BY_ID
                return saved
            self._ids[path] = ids
        return value if slot.shared is None else without(value, self._handed.has_memory_of)

    def _save(self, slot: Slot, scope: Scope) -> None:
        path, before = f"{scope.name}/{slot.key}", self._baseline.of(scope, slot)
        facts, has_own_factory, named = self.facts, False, None
        value: Any = slot.value
        is_frozen = is_frozen_data(value)
        is_shared = (
            is_frozen or is_array(value) or is_rng(value) or is_value(value) or isinstance(value, CONTAINERS)
        )
        first = self._first.get(id(value)) if is_shared else None
        if first is not None:
            facts.same[path] = first
            return
        try:
            value = self._as_saved(slot, path)
            has_own_factory = before is not None and before.was(slot.value) and _has_own_factory(value, path)
            value = dict(value) if has_own_factory else value
            why, named = _obstacle(value, path), _named_tuples(value)
            is_new = before is None or before.kind is not type(value)
            if not why and named is not None and (is_new or type(value).__name__ != named):
                lost = lost_in(state.Walk().run(value, path), named)
                why = "" if lost is None else _OF_NO_CLASS
            if is_frozen and is_new:
                why = _OF_NO_CLASS
        except Exception as err:  # of the object's own
            why = str(err) if str(err) == WITHOUT_PLACE else f"{type(err).__name__}: {err}"
        if why:
            facts.keyed.pop(path, None)
            facts.unsaved[slot.key] = self._say(slot.key, slot.value, why)
            return
        if is_shared:
            self._first[id(slot.value)] = path
        if has_own_factory:
            facts.factory.append(path)
        if slot.way == "data" and loses_order(value) and is_order_read(slot.key):
            facts.unsaved[slot.key] = loses(slot.key, "run.")
        if slot.way == "protocol" and path not in facts.keyed:
            facts.protocol.append(path)
            if may_forget(slot.value):
                facts.unsaved[slot.key] = f"{slot.key} {FORGETS}"
            if isinstance(slot.value, Adapted) and before is not None and not before.was(slot.value):
                facts.rebound.append(path)
        elif before is None or not before.was(slot.value):
            facts.rebound.append(path)
            self._baseline.let_go(scope, slot)
        self._live[path] = slot.value
        if path in facts.keyed:
            self._sharing.add(path, values_of(held_in(slot.value)), is_new=True)
        elif slot.way == "data":
            is_new = path in facts.rebound or not can_be_filled(slot.value)
            self._sharing.add(path, slot.value, is_new=is_new, is_within=self._is_within(scope))
        if (device := device_of(value)) is not None:
            facts.devices[path] = device
        if named is not None:
            facts.named[path] = named
        self.values.setdefault(scope.name, {})[slot.key] = value


def _shadows_a_method(slot: Slot) -> bool:
    """Whether it is a function in an attribute, in the place of a method of the object's class: `model.forward = patched`."""
    name = slot.key.rpartition(".")[2]
    return (
        is_code(slot.value)
        and not isinstance(slot.owner, type)
        and callable(getattr(type(slot.owner), name, None))
    )


def _obstacle(value: Any, path: str) -> str:
    """Why a value cannot be saved; empty if it can."""
    if type(value) in SCALARS:
        return ""
    walk = state.Walk()
    try:
        walk.run(value, path)
    except UnsupportedStateError as err:
        return str(err)
    if len(walk.arrays) > _MOST_ARRAYS:
        return f"it holds {len(walk.arrays):,} arrays; hold them in one"
    size = sum(leaf.size_bytes for leaf, _ in walk.arrays)
    return f"it is too large ({size / 1e9:.3g} GB); hand it over instead" if size > _MOST_BYTES else ""


def _has_own_factory(value: Any, path: str) -> bool:
    """Whether it is a `defaultdict` that cannot be made again without the script's function."""
    return type(value) is defaultdict and bool(_obstacle(defaultdict(value.default_factory), path))


def _named_tuples(value: Any) -> str | None:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__
    if not isinstance(value, list | deque | dict) or not value:
        return None
    kinds = set(map(type, value.values() if isinstance(value, dict) else value))
    kind = next(iter(kinds))
    return kind.__name__ if len(kinds) == 1 and hasattr(kind, "_fields") and issubclass(kind, tuple) else None
