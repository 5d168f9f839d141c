"""A small model of the protocol, run through all interleavings: no committed checkpoint is lost or half there.

The real code is interleaved in `test_interleavings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

# A directory has a number of its own and holds files; a record is the id that it names, whose one data file
# has the id's name. A process is a place in its program and what it remembers; a step is one operation.


@dataclass(frozen=True)
class World:
    """Directories by number: (record, files); names; and each process as (step, memory)."""

    directories: tuple[tuple[str | None, frozenset[str]], ...]
    names: tuple[tuple[str, int], ...]
    processes: tuple[tuple[Any, ...], ...]

    def at(self, name: str) -> int | None:
        return dict(self.names).get(name)

    def with_name(self, name: str, number: int | None) -> World:
        names = {key: value for key, value in self.names if key != name}
        return replace(
            self, names=tuple(sorted((names | ({name: number} if number is not None else {})).items()))
        )

    def with_directory(self, number: int, record: str | None, files: frozenset[str]) -> World:
        changed = [*self.directories]
        changed[number : number + 1] = [(record, files)]
        return replace(self, directories=tuple(changed))

    def going_to(self, index: int, *place: Any) -> World:
        changed = [*self.processes]
        changed[index] = place
        return replace(self, processes=tuple(changed))


def overwriter(world: World, index: int, id: str, *, careless: bool = False) -> World:
    """One step of a save of checkpoint `id` as "best". `careless` unlinks before it knows who is current."""
    step, *memory = world.processes[index]
    if step == "begin":
        number = world.at("best")
        if number is None:  # a new name: built aside, in a directory of its own
            made = replace(world, directories=(*world.directories, (id, frozenset({id}))))
            return made.going_to(index, "name", len(world.directories))
        return world.going_to(index, "write", number)
    [number, *rest] = memory
    record, files = world.directories[number]
    if step == "name":
        if world.at("best") is not None:
            return world.going_to(index, "begin")
        return world.with_name("best", number).going_to(index, "done")
    if step == "write":
        return world.with_directory(number, record, files | {id}).going_to(index, "look", number)
    if step == "look":
        if record is None:  # emptied by a deleter: what we wrote went with it
            return world.going_to(index, "begin")
        return world.going_to(index, "rename", number, record)
    if step == "rename":
        if id not in files:
            return world.going_to(index, "begin")
        return world.with_directory(number, id, files).going_to(index, "unlink", number, rest[0])
    if step == "unlink":
        gone = {rest[0]} - (set() if careless else {record})
        return world.with_directory(number, record, files - gone).going_to(index, "check", number)
    assert step == "check"
    return world.going_to(index, "done" if world.at("best") == number else "begin")


def deleter(world: World, index: int, id: str, *, careless: bool = False) -> World:
    """One step of the deletion of "best" if it is checkpoint `id`. `careless` does not look again."""
    step, *memory = world.processes[index]
    if step == "begin":
        number = world.at("best")
        meant = number is not None and world.directories[number][0] == id
        return world.going_to(index, "move" if meant else "done")
    if step == "move":
        number = world.at("best")
        if number is None:
            return world.going_to(index, "done")
        return world.with_name("best", None).going_to(index, "look", number)
    [number] = memory
    if step == "look":
        meant = careless or world.directories[number][0] == id
        return world.going_to(index, "empty" if meant else "put back", number)
    if step == "put back":
        if world.at("best") is not None:
            return world.going_to(index, "empty", number)
        return world.with_name("best", number).going_to(index, "done")
    assert step == "empty"
    return world.with_directory(number, None, frozenset()).going_to(index, "done")


Program = Callable[[World, int], World]


def endings(*programs: Program) -> set[World]:
    """Every world in which all programs have ended, over all interleavings; checks those on the way."""
    start = World((("old", frozenset({"old"})),), (("best", 0),), tuple(("begin",) for _ in programs))
    seen, waiting, ended = {start}, [start], set()
    while waiting:
        world = waiting.pop()
        number = world.at("best")
        if number is not None:
            record, files = world.directories[number]
            assert record in files, f"{record} is named and its file is missing: {world}"
        running = [index for index, (step, *_) in enumerate(world.processes) if step != "done"]
        if not running:
            ended.add(world)
        for index in running:
            after = programs[index](world, index)
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return ended


def holds(world: World) -> str | None:
    number = world.at("best")
    return None if number is None else world.directories[number][0]


def saving(id: str, **how: bool) -> Program:
    return lambda world, index: overwriter(world, index, id, **how)


def deleting(id: str, **how: bool) -> Program:
    return lambda world, index: deleter(world, index, id, **how)


def test_of_two_overwriters_in_any_order_one_is_there_and_complete():
    assert {holds(world) for world in endings(saving("a"), saving("b"))} == {"a", "b"}


def test_a_deletion_in_any_order_never_takes_what_was_saved_meanwhile():
    assert {holds(world) for world in endings(saving("a"), deleting("old"))} == {"a"}


def test_two_overwriters_and_a_deleter_in_any_order_lose_nothing():
    assert {holds(world) for world in endings(saving("a"), saving("b"), deleting("old"))} == {"a", "b"}


def test_the_model_can_fail_a_deleter_that_does_not_look_again_loses_a_checkpoint():
    assert None in {holds(world) for world in endings(saving("a"), deleting("old", careless=True))}


def test_the_model_can_fail_unlinking_what_is_current_breaks_a_checkpoint():
    def again(world: World, index: int) -> World:  # saves the id that is there already, and unlinks it
        return overwriter(world, index, "old", careless=True)

    with pytest.raises(AssertionError, match="file is missing"):
        endings(again)
