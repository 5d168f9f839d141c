"""Once a save has returned, a power cut does not lose it; before that, the old one is still there."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from bundle_cases import place, read_file
from protocol_cases import AFTER_A_DAY_S, Writer, go_on, held_by, listed

from holdfast import bundle
from holdfast.errors import HoldfastError
from holdfast.storage import MemoryDisk
from holdfast.testing import Crash, CrashingDisk, Event, RecordingDisk, crash_states


class Workload:
    """Saves and deletes on a recorded disk, and notes before and after each what a name may hold."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.disk = RecordingDisk(clock=lambda: self.now_s)
        self.writer = Writer(self.disk)

    def save(self, number: int, name: str = "best") -> None:
        self.disk.mark((name, number, "begun"))
        self.writer.save(number, name)
        self.disk.mark((name, number, "done"))

    def delete(self, name: str = "best") -> None:
        found = bundle.look(self.disk, place("runs", name))
        assert found is not None
        assert found.record is not None
        self.disk.mark((name, None, "begun"))
        bundle.delete(self.disk, found.path, expected_id=found.record.id)
        self.writer.sharing.forget(found.path)
        self.disk.mark((name, None, "done"))


def may_be_held(past: list[Event]) -> dict[str, set[int | None]]:
    """By name: what was last done, and what was begun since."""
    allowed: dict[str, set[int | None]] = {}
    for event in past:
        if event.kind == "mark":
            name, number, how = event.note
            allowed.setdefault(name, {None})
            allowed[name] = {number} if how == "done" else allowed[name] | {number}
    return allowed


def check_all_cuts(events: list[Event], cap: int) -> int:
    """Verify what each crash state holds; the number of different ones."""
    seen = set()
    for happened, make in crash_states(events, cap, Random(0)):
        allowed = may_be_held(events[:happened])
        disk = make()
        state = hash((tuple(map(tuple, allowed.values())), picture(disk, "")))
        if state in seen:
            continue
        seen.add(state)
        if "runs" not in disk.folders(""):
            assert all(None in states for states in allowed.values())
            continue
        found = listed(disk)
        for name, states in allowed.items():
            assert found.get(name) in states, (happened, name)
        if len(seen) % 50 == 0:
            go_on(disk)
    return len(seen)


def picture(disk: MemoryDisk, path: str) -> Any:
    """Everything below a directory, names and bytes."""
    folders = sorted(disk.folders(path))
    with disk.open_directory(path) as inside:
        files = sorted(set(inside.names()) - set(folders))
    return tuple((name, picture(disk, f"{path}/{name}")) for name in folders), tuple(
        (name, read_file(disk, path, name)) for name in files
    )


def a_life(workload: Workload) -> None:
    workload.save(1)
    workload.save(2)  # overwrites
    workload.save(3, "last")  # shares
    workload.delete()
    workload.save(4)


def a_life_with_a_death(workload: Workload) -> None:
    """A process dies between renaming its record and making that durable; another one goes on."""
    workload.save(1)
    workload.disk.mark(("best", 2, "begun"))
    dying = Writer(workload.disk)
    after = next(number for number in range(100) if dies_at_the_last_sync(number))
    with pytest.raises(Crash):
        dying.save(2, disk=CrashingDisk(workload.disk, after))
    workload.writer.learn_all()
    workload.now_s = AFTER_A_DAY_S
    bundle.sweep(workload.disk, "runs", AFTER_A_DAY_S)
    workload.save(3)


def dies_at_the_last_sync(after: int) -> bool:
    disk = MemoryDisk()
    Writer(disk).save(1)
    try:
        Writer(disk).save(2, disk=CrashingDisk(disk, after))
    except Crash as crash:
        return crash.args[0].kind == "sync_directory" and held_by(disk) == 2
    return False


@pytest.mark.parametrize("live", [a_life, a_life_with_a_death])
@pytest.mark.parametrize("cap", [128, pytest.param(4096, marks=pytest.mark.slow)])
def test_a_power_cut_at_any_time_loses_nothing_that_was_promised(live: Callable[[Workload], None], cap: int):
    live(workload := Workload())
    assert check_all_cuts(workload.disk.events, cap) > 50


def is_sync_of_the_root(event: Event) -> bool:
    return event.kind == "sync" and event.inode == 0


@pytest.mark.slow
def test_these_tests_notice_when_any_sync_is_left_out():
    a_life(workload := Workload())
    events = workload.disk.events
    syncs = [index for index, event in enumerate(events) if event.kind == "sync"]
    unnoticed = []
    for index in syncs:
        try:
            check_all_cuts([*events[:index], *events[index + 1 :]], cap=64)
        except (AssertionError, HoldfastError, OSError):
            continue
        unnoticed.append(index)
    # Later saves sync the parent of the directory again, in case that its maker died before doing so.
    assert unnoticed == [index for index in syncs if is_sync_of_the_root(events[index])][1:]
