"""What the tests of the commit protocol share: small states, steps over them, and what must hold after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from holdfast import bundle
from holdfast.errors import CheckpointNotFoundError
from holdfast.state import capture
from holdfast.storage import Storage
from holdfast.testing import Crash, CrashingDisk
from tests.support.bundle_cases import content, content_of, draft, noise, place

FROZEN = noise(64 << 10, seed=0)  # large enough to be shared
AFTER_A_DAY_S = 1e12  # everything has become old by then


def state(number: int) -> dict[str, Any]:
    return {"frozen": FROZEN, "head": np.full(3, number), "step": number}


SNAPSHOTS = [capture(state(number)) for number in range(8)]
NUMBERS = {content_of(state(number)): number for number in range(8)}


class Writer:
    """One process that saves `state(number)` checkpoints, and knows what it can share."""

    def __init__(self, disk: Storage, durability: Literal["full", "process"] = "full") -> None:
        self.disk, self.durability = disk, durability
        self.sharing = bundle.Sharing()

    def save(self, number: int, name: str = "best", disk: Storage | None = None) -> str:
        record = draft(name, number, durability=self.durability)
        return bundle.save(disk or self.disk, "runs", record, SNAPSHOTS[number], self.sharing).id

    def learn_all(self) -> None:
        """As after a resume that verified everything."""
        for each in bundle.scan(self.disk, "runs"):
            with bundle.Bundle(self.disk, each.path) as opened:
                self.sharing.learn(each.path, opened.record, opened.stored)


def held_by(disk: Storage, name: str = "best") -> int | None:
    """Which state the name holds, verified; None if there is none. Anything in between is an error."""
    try:
        return NUMBERS[content(disk, place("runs", name))]
    except CheckpointNotFoundError:
        return None


def listed(disk: Storage) -> dict[str, int | None]:
    """Name and state of every bundle that is listed; a damaged one is an error."""
    found = {}
    for each in bundle.scan(disk, "runs"):
        assert each.record is not None, each.problem
        found[each.record.name] = held_by(disk, each.record.name)
    return found


def work_on(disk: Storage, durability: Literal["full", "process"] = "full") -> None:
    """Another process finds what is there: sweeping loses nothing, saving and deleting work."""
    before = listed(disk)
    bundle.sweep(disk, "runs", AFTER_A_DAY_S)
    assert before.items() <= listed(disk).items()  # what a dead deleter moved away in doubt may be back
    assert all(not name.startswith(".") for name in disk.folders("runs"))
    writer = Writer(disk, durability)
    writer.learn_all()
    writer.save(5)
    assert held_by(disk) == 5
    writer.save(6, "next")
    bundle.delete(disk, place("runs"))
    assert held_by(disk) is None
    assert held_by(disk, "next") == 6


# Steps that may be cut short; each works on what the one before it in `STEPS` has left.
Step = Callable[[Storage, Writer], Any]


def nothing(disk: Storage, writer: Writer) -> None: ...


def first_save(disk: Storage, writer: Writer) -> None:
    writer.save(1, disk=disk)


def second_save(disk: Storage, writer: Writer) -> None:
    writer.save(2, disk=disk)


def other_name(disk: Storage, writer: Writer) -> None:
    writer.save(2, "last", disk=disk)


def delete(disk: Storage, writer: Writer) -> None:
    bundle.delete(disk, place("runs"))


def delete_by_id(disk: Storage, writer: Writer) -> None:
    found = bundle.look(writer.disk, place("runs"))
    assert found is not None
    assert found.record is not None
    bundle.delete(disk, place("runs"), expected_id=found.record.id)


def die_often(disk: Storage, writer: Writer) -> None:
    first_save(disk, writer)
    for step, after in ((other_name, 12), (second_save, 9), (delete_by_id, 1)):
        try:
            step(CrashingDisk(disk, after), writer)
        except Crash:
            continue
        raise AssertionError("it was meant to die")


def sweep(disk: Storage, writer: Writer) -> None:
    bundle.sweep(disk, "runs", AFTER_A_DAY_S)


# What there is before, the step, and what each name may hold when it was cut short; the last is its end.
STEPS: dict[str, tuple[Step, Step, dict[str, list[int | None]]]] = {
    "a first save": (nothing, first_save, {"best": [None, 1]}),
    "a save that shares": (first_save, other_name, {"best": [1], "last": [None, 2]}),
    "an overwrite": (first_save, second_save, {"best": [1, 2]}),
    "a deletion": (first_save, delete, {"best": [1, None]}),
    "a deletion by id": (first_save, delete_by_id, {"best": [1, None]}),
    "a sweep": (die_often, sweep, {"best": [1, None], "last": [None]}),  # one death was during a deletion
}
