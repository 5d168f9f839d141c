"""What the variables of a scope were when the loop began."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ._frames import Scope
from ._kinds import SCALARS
from ._marks import Marks
from ._walk import Slot


@dataclass(frozen=True, slots=True)
class Before:
    """Of one slot: its mark, and which object it was."""

    mark: Hashable
    identity: int
    scalar: Any = None
    is_scalar: bool = False


@dataclass(slots=True)
class Baseline:
    """Of one scope. `names` are those that were there when the outer loop began; the others belong to one turn of it."""

    names: set[str]
    slots: dict[str, Before] = field(default_factory=dict)

    def take(self, scope: Scope, slots: Iterable[Slot], marks: Marks) -> None:
        """These are what the slots were."""
        for slot in slots:
            is_scalar = slot.way == "data" and type(slot.value) in SCALARS
            self.slots[slot.key] = Before(
                mark_of(slot, marks, scope.name),
                id(slot.value),
                slot.value if is_scalar else None,
                is_scalar,
            )

    def forget_inner(self) -> None:
        """Another turn of the outer loop: what is made anew in it has another past."""
        for key in [key for key in self.slots if key.partition(".")[0] not in self.names]:
            del self.slots[key]


def mark_of(slot: Slot, marks: Marks, scope: str) -> Hashable:
    """What is equal as long as the slot's content is what it was."""
    name = f"{scope}/{slot.key}"
    match slot.way:
        case "data":
            return marks.of(slot.value, name)
        case "protocol":
            return marks.of_state(slot.value, name)
        case _:
            return type(slot.value), repr(slot.position)
