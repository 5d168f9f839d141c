"""Objects that are at several places at once: a list that is also an item of another, a row of a table with a name of its own.

Values are saved at each of their places, and would come back as several objects, of which the script then changes one.
So of what is saved it is noted where else the very same object is, or the memory that it lies in, and a resume puts it there.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ...state import Attributes
from .._kinds import CONTAINERS, SCALARS, is_array, is_jax_array, is_module, is_rng, is_value, torch
from .memory import Unlike, View, address, can_be_filled, overlap
from .places import HANDED, Link, has_groups, parts_of, root_of, root_of_text, text_of

MOST: Final = 10_000
_OF_WHAT_IS_NEW: Final = "it lies in the memory of an array that comes back as a new one"
TOO_MANY: Final = (
    f"it comes back, but holds more than {MOST:,} objects that are elsewhere, too, and are others then"
)
_MOST_ARRAYS: Final = 1000  # of one container that is not saved: the memory of more is not compared
# What was handed over is never another object, what has not changed is the script's; but not where a caller gives it.
_HANDED, _OF_SCRIPT, _NEW, _WITHIN = range(4)
_NEVER_CHANGE: Final = frozenset({"datetime", "decimal", "fractions", "uuid"})


class Sharing:
    """What is shared at a save.

    Args:
        objects: what was handed over, by name.
        is_handed: whether an array lies in memory of these.
    """

    def __init__(self, objects: Mapping[str, Any], is_handed: Callable[[Any], bool]) -> None:
        self._objects, self._is_handed = objects, is_handed
        self._new: list[tuple[str, Any]] = []
        self._others: list[tuple[str, Any]] = []
        self._within: set[str] = set()

    def add(self, root: str, value: Any, *, is_new: bool, is_within: bool = False) -> None:
        """A variable, `scope/key`, which is data.

        `is_new`: what it holds comes back as something new. `is_within`: it is of a function that is called within the loop, to which
        its caller gives what comes back elsewhere, too.
        """
        if type(value) not in SCALARS:
            (self._new if is_new else self._others).append((root, value))
            if is_within and not is_new:
                self._within.add(root)

    def leave(self, is_left: Callable[[str], bool]) -> None:
        """Forget the variables of which this says so."""
        self._new = [each for each in self._new if not is_left(each[0])]
        self._others = [each for each in self._others if not is_left(each[0])]

    def place_of(self, key: int) -> str | None:
        """The place of the object of this id that was handed over, or is a part of that; None if there is none."""
        found = self._known_places.get(key)
        return None if found is None else _text_or_none(found[1][0])

    def handed(self) -> Iterator[tuple[str, Any]]:
        """What was handed over, and what is in it, each with its place."""
        for value, links in self._known_places.values():
            if (text := _text_or_none(links[0])) is not None:
                yield text, value

    @functools.cached_property
    def _known_places(self) -> dict[int, tuple[Any, list[Link]]]:
        looks = _Looks(with_all=True)
        for name, each in self._objects.items():
            looks.look(f"{HANDED}{name}", each, is_wanted=False)
        return looks.places

    def find(self) -> tuple[dict[str, str], dict[str, str]]:
        """By place, the place of what is there, too; and by root why that cannot be said of what is in it."""
        looks = _Looks()
        for root, value in self._new:
            looks.look(root, value, is_wanted=True)
        wanted = {name for name, each in self._objects.items() if isinstance(each, (*CONTAINERS, Attributes))}
        if not looks.places and not wanted:
            return {}, {}
        compares = bool(wanted) or looks.has_wanted_arrays
        for name, value in self._objects.items():
            looks.look(f"{HANDED}{name}", value, is_wanted=name in wanted, is_compared=compares)
        if not looks.places:
            return {}, {}
        compares = looks.has_wanted_arrays
        for root, value in self._others:
            looks.look(root, value, is_wanted=False, is_compared=compares)
        ranks = dict.fromkeys((root for root, _ in self._new), _NEW) | dict.fromkeys(self._within, _WITHIN)
        return looks.found(ranks, self._is_handed)


def _text_or_none(link: Link) -> str | None:
    with contextlib.suppress(TypeError):
        return text_of(link)
    return None


def roots_in_common(values: Mapping[str, Any], objects: Mapping[str, Any]) -> set[str]:
    """Which of these values, by root, hold something that another one holds, or has, or that was handed over."""
    looks = _Looks()
    for root, value in values.items():
        looks.look(root, value, is_wanted=True)
    for name, value in objects.items():
        looks.look(f"{HANDED}{name}", value, is_wanted=False)
    links = [link for _, found in looks.places.values() if len(found) > 1 for link in found]
    return {root_of(link) for link in links if not isinstance(link, str)}


class _Looks:
    """Goes through values. `with_all`: everything is noted, not only what is wanted."""

    def __init__(self, *, with_all: bool = False) -> None:
        self.places: dict[int, tuple[Any, list[Link]]] = {}  # by id, kept alive, so that ids stay their own
        self._with_all = with_all
        self._at: dict[str | int, int] = {}  # by a root, or the id of another place: the id of what is there
        self._chosen: dict[int, Link] = {}
        self._rank: Callable[[Link], int] = lambda link: 0
        self._arrays: dict[int, _Array] = {}

    @property
    def has_wanted_arrays(self) -> bool:
        """Whether there are any of which it is to be known where else their memory is."""
        return any(each.is_wanted for each in self._arrays.values())

    def look(self, root: str, value: Any, *, is_wanted: bool, is_compared: bool = True) -> None:
        """Note where the objects in `value` are that can change; only other places of these, if it is not wanted itself.

        `is_compared`: the memory of its arrays is, too.
        """
        leaves = {np.ndarray} if torch() is None else {np.ndarray, torch().Tensor, torch().nn.Parameter}
        entered: set[int] = set()
        waiting: deque[tuple[Link, Any, bool, bool]] = deque([(root, value, is_wanted, is_compared)])
        while waiting:
            link, each, wanted, is_compared = waiting.popleft()
            if type(each) in SCALARS or _never_changes(each):
                continue
            if not isinstance(each, tuple):
                known = self.places.get(id(each))
                if known is not None:
                    known[1].append(link)
                elif wanted or self._with_all:
                    self.places[id(each)] = each, [link]
                if known is not None or wanted or self._with_all:
                    self._at[link if isinstance(link, str) else id(link)] = id(each)
                if is_array(each) and is_compared:
                    first = self._arrays.get(id(each))
                    if first is None or (first.is_wanted and not wanted):  # where it is not made anew
                        self._arrays[id(each)] = _Array(each, link, wanted)
                if known is not None or id(each) in entered or is_array(each):
                    continue
                entered.add(id(each))
            if type(each) in (list, tuple, deque) and {*map(type, each)} <= SCALARS:
                continue
            wanted = wanted and not (is_module(each) or has_groups(each))
            parts = [*parts_of(each)]
            is_compared = is_compared and (wanted or len(parts) <= _MOST_ARRAYS)
            is_looked_into = wanted or is_compared or self._with_all
            for key, part in parts:
                kind = type(part)
                if kind in SCALARS or not (is_looked_into or kind not in leaves or id(part) in self.places):
                    continue
                waiting.append(((link, key), part, wanted, is_compared))

    def found(
        self, ranks: Mapping[str, int], is_handed: Callable[[Any], bool]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """As `Sharing.find`; `ranks`: of the roots that are neither handed over nor unchanged."""
        pairs: dict[str, str] = {}
        lost: dict[str, str] = {}
        tied: list[tuple[Link, Link]] = []

        rank = self._rank = lambda link: _rank(root_of(link), ranks)

        def note(target: Link, source: Link, text: Callable[[], str]) -> None:
            if rank(target) == _HANDED and isinstance(
                target, str
            ):  # it was handed over itself, and is never another object
                if rank(source) != _HANDED:
                    lost[root_of(target)] = _OF_WHAT_IS_NEW
                return
            try:
                pairs[text_of(target)] = text()
            except (TypeError, Unlike) as err:
                lost[root_of(target)] = str(err)

        for key, (value, links) in self.places.items():
            source = self._choice(key)
            for target in map(self._by_choice, links) if len(links) > 1 and can_change(value) else ():
                is_tied = is_array(value) and root_of(target) == root_of(source)  # it is saved once, as one
                if target != source and is_tied:
                    tied.append((target, source))
                elif target != source:
                    note(target, source, lambda source=source: text_of(source))
        for group in self._groups():
            base = min(
                group,
                key=lambda each: (not can_be_filled(each.value), -each.value.nbytes, rank(each.link)),
            )
            for each in group:
                is_made_anew = rank(base.link) == _NEW and rank(each.link) in (_HANDED, _WITHIN)
                is_affected = each.is_wanted or is_made_anew
                if each is not base and is_affected and overlap(each.value, base.value):
                    target, source = self._by_choice(each.link), self._by_choice(base.link)
                    note(target, source, functools.partial(_text_of_view, each.value, base.value, source))
        for target, source in tied:  # once for all its places, it is a view that is made anew
            with contextlib.suppress(TypeError):
                if text_of(source) in pairs:
                    note(target, source, functools.partial(text_of, source))
        for each in self._arrays.values():  # the memory of what was handed over is not saved again
            is_there = not each.is_wanted or rank(each.link) == _HANDED or not is_handed(each.value)
            if not is_there and text_of(self._by_choice(each.link)) not in pairs:
                lost[root_of(each.link)] = "it lies in the memory of something that was handed over"
        if len(pairs) > MOST:
            lost |= dict.fromkeys(map(root_of_text, pairs), TOO_MANY)
        while gone := {
            root_of_text(each): source for each, source in pairs.items() if _is_of(lost, each, source)
        }:
            lost |= {
                root: lost.get(root, lost.get(root_of_text(source), "")) for root, source in gone.items()
            }
            pairs = {each: source for each, source in pairs.items() if root_of_text(each) not in gone}
        return pairs, lost

    def _choice(self, key: int) -> Link:
        """Of the places of an object the one whose object is put at all others."""
        if key not in self._chosen:
            links = self.places[key][1]
            self._chosen[key] = links[0]  # for what contains itself
            self._chosen[key] = min(map(self._by_choice, links), key=self._rank)
        return self._chosen[key]

    def _by_choice(self, link: Link) -> Link:
        """The place, by the chosen place of what it is in: so none of these is replaced."""
        if isinstance(link, str):
            return link
        above, key = link
        known = self._at.get(above if isinstance(above, str) else id(above))
        return (self._by_choice(above) if known is None else self._choice(known)), key

    def _groups(self) -> list[list[_Array]]:
        """The arrays that lie in the same memory as one that is wanted."""
        wanted = {address(each.value) for each in self._arrays.values() if each.is_wanted} - {None}
        groups: dict[int | None, list[_Array]] = {}
        for each in self._arrays.values() if wanted else ():
            if (at := address(each.value)) in wanted:
                groups.setdefault(at, []).append(each)
        return [group for group in groups.values() if len(group) > 1]


def _rank(root: str, ranks: Mapping[str, int]) -> int:
    """Whose object is put at the other places: the least's."""
    return _HANDED if root.startswith(HANDED) else ranks.get(root, _OF_SCRIPT)


def _is_of(roots: Container[str], *texts: str) -> bool:
    return any(root_of_text(each) in roots for each in texts)


@dataclass(frozen=True, slots=True)
class _Array:
    value: Any
    link: Link  # the first
    is_wanted: bool


def _text_of_view(array: Any, base: Any, place: Link) -> str:
    return View.of(array, base).text(place)


def without(value: Any, is_handed: Callable[[Any], bool]) -> Any:
    """Containers without the arrays that lie in memory of what was handed over: None is there."""
    if is_array(value):
        return None if is_handed(value) else value
    match value:
        case dict():
            items = {key: without(each, is_handed) for key, each in value.items()}
            return collections.OrderedDict(items) if isinstance(value, collections.OrderedDict) else items
        case list():
            return [without(each, is_handed) for each in value]
        case deque():
            return deque((without(each, is_handed) for each in value), value.maxlen)
        case tuple():
            return getattr(value, "_make", tuple)([without(each, is_handed) for each in value])
        case _:
            return value


def can_change(value: Any) -> bool:
    """Whether data can be changed in place."""
    is_fixed = type(value) in SCALARS or isinstance(value, tuple) or _never_changes(value)
    kinds = (*CONTAINERS, bytearray, collections.UserDict, collections.UserList)
    return not is_fixed and (isinstance(value, kinds) or is_array(value) or is_rng(value) or is_value(value))


def _never_changes(value: Any) -> bool:
    return (
        isinstance(value, frozenset | range | slice | np.generic | enum.Enum | PurePath)
        or type(value).__module__.partition(".")[0] in _NEVER_CHANGE
        or is_jax_array(value)
    )
