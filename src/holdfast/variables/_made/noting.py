"""At a save: of each object that was made in the loop, an object like it that a resume finds; or why there is none."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, final

from .._baseline import Baseline
from .._frames import Scope
from .._handed import Handed
from .._kinds import (
    CONTAINERS,
    attributes,
    has_own_attributes,
    is_data,
    is_module,
    is_object_array,
    items_of,
    name_of_item,
)
from .._looks import identity
from .._looks.code import is_code
from .._shared.adapted import Adapted
from .._shared.keyed import is_by_object
from .._shared.memory import address
from .._shared.places import root_of_text
from .._shared.sharing import Sharing
from .._walk import Slot
from .structure import (
    CONTAINERS_MADE,
    can_be_copied,
    is_stateful,
    keys_of,
    links_of,
    place_in,
    structure_of,
    tensors_of,
)

NOTHING_LIKE_IT: Final = "nothing like it was there as the loop began"
_NOT_COPIED: Final = "the one like it cannot be copied"
_SHARES: Final = "it shares memory with another object, of which no part is the same object"
_DRIVES: Final = "it refers to objects that no name leads to"


@final
class Newcomers:
    """The objects of one save that were not there when the loop began, from the outside inwards.

    Args:
        firsts: by the names that lead to them, the objects that were there when the loop began.

    Attributes:
        made: as `Facts.made`, once they are settled.
        objects: what is at a second place as well, as `Facts.objects`.
        lost: by `scope/key` what cannot be made again, and why.
    """

    def __init__(
        self,
        handed: Handed,
        baseline: Baseline,
        sharing: Sharing,
        firsts: Callable[[], Iterator[tuple[str, Any, Hashable]]],
    ) -> None:
        self.made: dict[str, str] = {}
        self.objects: dict[str, str] = {}
        self.lost: dict[str, str] = {}
        self._handed, self._baseline, self._sharing, self._firsts = handed, baseline, sharing, firsts
        self._slots: dict[str, Slot] = {}
        self._path_of: dict[int, str] = {}  # by the object's id
        self._templates: dict[int, Any] = {}  # by the id of an object, the one like it
        self._parts: dict[int, str] = {}  # places, by the ids of layers and tensors
        self._memory: dict[int, Any] = {}  # tensors by their memory
        self._like: dict[tuple[type, Hashable], list[tuple[str, Any]]] = defaultdict(list)
        self._refers: dict[str, set[str]] = defaultdict(set)  # by path, to which of the others

    def __bool__(self) -> bool:
        return bool(self._slots)

    def __contains__(self, path: str) -> bool:
        return path in self._slots

    def has(self, value: Any) -> bool:
        """Whether an object is one of them."""
        return id(value) in self._path_of

    def value_at(self, path: str) -> Any:
        """The object that is there, or the container of which an item is lost."""
        slot = self._slots.get(path)
        if slot is not None:
            return slot.value
        return next(each.owner for at, each in self._slots.items() if at.rpartition(".")[0] == path)

    def add(self, scope: Scope, slot: Slot) -> None:
        """One that is at this place, and perhaps at others before."""
        path = f"{scope.name}/{slot.key}"
        self._slots[path] = slot
        self._path_of.setdefault(id(slot.value), path)

    def settle(self) -> None:
        """Find for each what is like it; what refers to others comes after these."""
        if not self._slots:
            return
        self._look_around()
        models = [path for path, slot in self._slots.items() if is_module(slot.value)]
        for path in dict.fromkeys([*models, *self._slots]):
            slot = self._slots[path]
            if (first := self._path_of[id(slot.value)]) != path:
                self.objects[path] = json.dumps([first, ""])
                self._refers[path].add(first)
            elif why := self._settle(path, slot):
                self.lost.setdefault(
                    self.root_of(path), f"{_noun(slot)}: {why}" if self.root_of(path) != path else why
                )
        self._lose_what_refers()

    def _lose_what_refers(self) -> None:
        """With what is lost, all that refers to it."""
        lost = {*self.lost}
        while lost:
            found: dict[str, str] = {}
            for path, others in self._refers.items():
                gone = next((each for each in others if self.root_of(each) in lost), None)
                if gone is not None and (root := self.root_of(path)) not in self.lost:
                    found[root] = (
                        f"{_noun(self._slots[path])}, and {gone.partition('/')[2]} does not come back"
                    )
            self.lost |= found
            lost = {*found}

    def root_of(self, path: str) -> str:
        """Where the outermost object is that is new, or the container, which holds this one."""
        slot = self._slots[path]
        if (above := self._path_of.get(id(slot.owner))) is not None:
            return self.root_of(above)
        is_item = isinstance(slot.owner, CONTAINERS) or is_object_array(slot.owner)
        return path.rpartition(".")[0] if is_item else path

    def _look_around(self) -> None:
        for place, value, structure in self._firsts():
            built = structure_of(value) if structure is None else structure
            self._like[type(value), built].append((f"={place}", value))
            if is_module(value):
                for link, part in links_of(value).items():
                    self._parts.setdefault(id(part), place_in(f"={place}", link))
                self._note_memory(value)
        for place, value in self._sharing.handed():
            if is_stateful(value) or Adapted.of(value) is not None:
                self._like[type(value), structure_of(value)].insert(0, (place, value))

    def _settle(self, path: str, slot: Slot) -> str:
        """Note how it is made again; returns why it cannot be."""
        value = slot.value
        if type(value) in CONTAINERS_MADE.values():  # by its items
            self._templates[id(value)] = self._within(slot)
            return "" if keys_of(value) is not None else "it has keys that are not plain"
        within = self._within(slot)
        if is_code(value):
            return self._settle_code(path, value, within)
        if (adapted := Adapted.of(value)) is not None and adapted.is_complete:
            self.made[path] = ""
            return ""
        if adapted is None and not is_stateful(value):
            return "its class gives no state"
        structure = structure_of(value)
        if within is not None and type(within) is type(value) and structure_of(within) == structure:
            self._templates[id(value)] = within
            return (
                "" if self._links(path, value) == {} else _DRIVES
            )  # its copy comes with the copy of its owner
        found = self._like.get((type(value), structure), [])
        if not found:
            return NOTHING_LIKE_IT
        copied = next((each for each in found if can_be_copied(each[1])), None)
        if copied is None:
            return _NOT_COPIED
        place, self._templates[id(value)] = copied
        links = self._links(path, value)
        if links is None:
            return _SHARES if is_module(value) else _DRIVES
        self.made[path] = json.dumps([place, links])
        return ""

    def _settle_code(self, path: str, value: Any, within: Any) -> str:
        if identity.Referent(within).is_like(value):
            return ""
        name = identity.name_of(value, within)
        if name is None:
            return NOTHING_LIKE_IT
        self.objects[path] = name
        return ""

    def _within(self, slot: Slot) -> Any:
        """What is at this place in the object like its owner, if it was there when the loop began."""
        owner = self._templates.get(id(slot.owner))
        if owner is None:
            return None
        name = slot.key.rpartition(".")[2]
        first = self._baseline.first_of(owner, name)
        if first is None and self._handed.holds(owner):
            return attributes(owner).get(name)
        return None if first is None else first.get()

    def _links(self, path: str, value: Any) -> dict[str, str] | None:
        """Which of its parts are elsewhere, too, and where; None if that cannot be said of one."""
        found: dict[str, str] = {}
        for link, part in links_of(value).items():
            place = self._place_of(part)
            if place is not None and not any(link.startswith(f"{each}.") for each in found):
                found[link] = place
            elif place is None and not is_module(value):
                return None
            elif place is None:
                self._parts[id(part)] = place_in(path, link)
        self._refers[path] |= {root for each in found.values() if (root := root_of_text(each)) in self._slots}
        return found if self._note_memory(value) else None

    def _place_of(self, part: Any) -> str | None:
        above = self._path_of.get(id(part))
        if above is not None:
            return json.dumps([above, ""])
        return self._sharing.place_of(id(part)) or self._parts.get(id(part))

    def _note_memory(self, value: Any) -> bool:
        """Whether each of its tensors has memory of its own, or is known."""
        for each in tensors_of(value):
            at = address(each)
            if at is None or self._sharing.place_of(id(each)) is not None:
                continue
            if self._handed.has_memory_of(each) or self._memory.setdefault(at, each) is not each:
                return False
        return True


def items_are_known(path: str, value: Any, known: Callable[[str], bool]) -> bool:
    """Whether each item of a container is data, or is put there by its name."""
    names = [(name_of_item(index), each) for index, each in items_of(value)]
    return all(is_data(each) or (name is not None and known(f"{path}.{name}")) for name, each in names)


def _noun(slot: Slot) -> str:
    return f"{slot.key} is a {type(slot.value).__name__}"


def can_be_noted(value: Any) -> bool:
    """Whether it may be made in the loop and be restored, if there is something like it."""
    return not is_by_object(value) and (
        type(value) in CONTAINERS_MADE.values()
        or is_stateful(value)
        or has_own_attributes(value)
        or Adapted.of(value) is not None
    )


def sentence(key: str, value: Any, why: str) -> str:
    """What was made in the loop and does not come back, and what to do."""
    kind = type(value).__name__
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    return (
        f"{key} is {article} {kind} made in the loop, and cannot be made again by a resume: {why}. Make one before the loop, and put "
        f"later ones into it by load_state_dict(), keep only its state_dict(), or hand it over; run.ignore({key!r}) if it decides nothing"
    )
