"""Writers, deleters, sweepers and readers share a directory without locks, whoever comes first at what.

The real code runs, one operation at a time, in every order (see `interleaving`).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from holdfast import bundle
from holdfast.bundle import _commit, _delete, _leftovers, _open
from holdfast.errors import CheckpointNotFoundError, CheckpointReplacedError, HoldfastError
from holdfast.storage import MemoryDisk
from holdfast.testing import TappedDisk
from tests.support.bundle_cases import place
from tests.support.protocol_cases import Writer, die_often, held_by, listed, work_on
from tests.support.reliability.interleaving import (
    ActorDisk,
    Outcome,
    World,
    every_order,
    every_pair,
    hours_apart,
    own_ids,
    some_orders,
)

__all__ = ["own_ids"]  # a fixture

Act = Callable[[ActorDisk], Any]
pytestmark = pytest.mark.usefixtures("own_ids", "quick_records")


@pytest.fixture
def quick_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a record's bytes say is looked up, not decoded thousands of times."""
    monkeypatch.setattr(_open, "decode_record", functools.cache(_open.decode_record))


class Scene:
    """A directory in which `best` holds state 0; every actor gets its own copy of what is known of it.

    `slow`: each actor lives two hours after the one before, so that what that one is writing has long been
    old enough to be a leftover. `littered`: a writer and a deleter have died there.
    """

    def __init__(self, *, slow: bool = False, littered: bool = False) -> None:
        self._disk = MemoryDisk(clock=hours_apart() if slow else lambda: 0.0)
        self._writer = Writer(self._disk)
        if littered:
            die_often(self._disk, self._writer)
        self.first_id = self._writer.save(0)

    def begin(self) -> MemoryDisk:
        return copy.deepcopy(self._disk)

    def saves(self, number: int, name: str = "best") -> Act:
        def act(disk: ActorDisk) -> str:
            writer = Writer(disk)
            writer.sharing = copy.deepcopy(self._writer.sharing)
            return writer.save(number, name)

        return act

    def deletes(self, *, by_id: bool = True) -> Act:
        def act(disk: ActorDisk) -> None:
            bundle.delete(disk, place("runs"), expected_id=self.first_id if by_id else None)

        return act

    def sweeps(self, now_s: float = 0.0) -> Act:
        return lambda disk: bundle.sweep(disk, "runs", now_s=now_s)

    def reads(self) -> Act:
        return lambda disk: held_by(disk)

    def lists(self) -> Act:
        return lambda disk: [*bundle.scan(disk, "runs")]


def finished(world: World, *expected: type[BaseException]) -> list[Outcome]:
    for outcome in world.outcomes:
        assert outcome.error is None or isinstance(outcome.error, expected), world.schedule
    return world.outcomes


def judge_two_overwriters(world: World) -> None:
    first, second = finished(world)
    last = held_by(world.disk)
    assert last in (1, 2)
    assert not (first.is_before(second) and last == 1)
    assert not (second.is_before(first) and last == 2)
    assert listed(world.disk) == {"best": last}


def judge_overwriter_and_deletion_by_id(world: World) -> None:
    finished(world, CheckpointReplacedError)
    assert listed(world.disk) == {"best": 1}


def judge_overwriter_and_deletion(world: World) -> None:
    writer, deleter = finished(world)
    last = held_by(world.disk)
    assert last in (1, None)
    assert not (deleter.is_before(writer) and last is None)
    assert not (writer.is_before(deleter) and last == 1)


def judge_two_deletions(world: World) -> None:
    first, second = finished(world, CheckpointNotFoundError, CheckpointReplacedError)
    assert first.error is None or second.error is None
    assert listed(world.disk) == {}


def judge_deletion_and_sweeper(world: World) -> None:
    finished(world)
    assert listed(world.disk) == {}


def judge_sweepers(world: World) -> None:
    finished(world)
    assert listed(world.disk) == {"best": 0}
    assert not [name for name in world.disk.folders("runs") if name.startswith(".")]


def judge_reader_and_overwriter(world: World) -> None:
    reader, _ = finished(world)
    assert reader.result in (0, 1)


def judge_reader_and_deletion(world: World) -> None:
    reader, _ = finished(world)
    assert reader.result in (0, None)


def judge_reader_and_sweeper(world: World) -> None:
    reader, _ = finished(world)
    assert reader.result == 0


def judge_lister(*, may_lack: bool) -> Callable[[World], None]:
    def judge(world: World) -> None:
        lister, _ = finished(world)
        assert [each.problem for each in lister.result if each.problem] == []
        assert may_lack or "best" in {each.record.name for each in lister.result}

    return judge


def holds(**expected: int) -> Callable[[World], None]:
    """Nobody fails, and this is what is there at the end."""

    def judge(world: World) -> None:
        finished(world)
        assert listed(world.disk) == expected, world.schedule

    return judge


Judge = Callable[[World], None]
LATER_S = 2 * 3600.0


def pairs() -> dict[str, tuple[Scene, Sequence[Act], Judge]]:
    s, slow, littered = Scene(), Scene(slow=True), Scene(littered=True)
    return {
        "two overwriters": (s, [s.saves(1), s.saves(2)], judge_two_overwriters),
        "an overwriter and a deletion by id": (s, [s.saves(1), s.deletes()], judge_overwriter_and_deletion_by_id),
        "an overwriter and a deletion": (s, [s.saves(1), s.deletes(by_id=False)], judge_overwriter_and_deletion),
        "a writer that links and a deletion": (s, [s.saves(1, "last"), s.deletes()], holds(last=1)),
        "a writer that links and an overwriter": (s, [s.saves(1, "last"), s.saves(2)], holds(last=1, best=2)),
        "two deletions by id": (s, [s.deletes(), s.deletes()], judge_two_deletions),
        "two deletions": (s, [s.deletes(by_id=False), s.deletes()], judge_two_deletions),
        "a deletion by id and a sweeper": (s, [s.deletes(), s.sweeps(LATER_S)], judge_deletion_and_sweeper),
        "a reader and an overwriter": (s, [s.reads(), s.saves(1)], judge_reader_and_overwriter),
        "a reader and a deletion by id": (s, [s.reads(), s.deletes()], judge_reader_and_deletion),
        "a reader and a deletion": (s, [s.reads(), s.deletes(by_id=False)], judge_reader_and_deletion),
        "a reader and a sweeper": (littered, [littered.reads(), littered.sweeps(1e12)], judge_reader_and_sweeper),
        "a lister and an overwriter": (s, [s.lists(), s.saves(1)], judge_lister(may_lack=False)),
        "a lister and a deletion by id": (s, [s.lists(), s.deletes()], judge_lister(may_lack=True)),
        "a lister and a first save": (s, [s.lists(), s.saves(1, "last")], judge_lister(may_lack=False)),
        "a slow first save and a sweeper": (slow, [slow.saves(1, "last"), slow.sweeps(LATER_S)], holds(best=0, last=1)),
        "a slow overwriter and a sweeper": (slow, [slow.saves(1), slow.sweeps(LATER_S)], holds(best=1)),
        "a slow overwriter and a later one": (slow, [slow.saves(1), slow.saves(2)], judge_two_overwriters),
        "two sweepers of leftovers": (littered, [littered.sweeps(1e12), littered.sweeps(1e12)], judge_sweepers),
        "a sweeper of leftovers and a first save": (
            littered, [littered.sweeps(LATER_S), littered.saves(1, "last")], holds(best=0, last=1)
        ),
    }  # fmt: skip


# These have too many orders for every commit: there one actor is stopped between every two of its operations and
# the other moves (`every_pair`); `make torture` goes through as many of their orders as it has time for.
ENDLESS = {
    "two overwriters",
    "an overwriter and a deletion",
    "an overwriter and a deletion by id",
    "a slow overwriter and a later one",
    "two sweepers of leftovers",
}


@pytest.mark.parametrize("pair", [pair for pair in pairs() if pair not in ENDLESS])
def test_in_every_order_no_committed_checkpoint_is_lost(pair: str):
    scene, acts, judge = pairs()[pair]
    assert judge_every(every_order, scene, acts, judge) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("pair", sorted(ENDLESS))
def test_between_every_two_operations_of_two_actors_no_committed_checkpoint_is_lost(pair: str):
    scene, acts, judge = pairs()[pair]
    assert judge_every(every_pair, scene, acts, judge) > 400


Orders = Callable[[Callable[[], MemoryDisk], Sequence[Act]], Iterator[World]]


def judge_every(orders: Orders, scene: Scene, acts: Sequence[Act], judge: Judge) -> int:
    """The number of orders."""
    number = 0
    for number, world in enumerate(orders(scene.begin, acts), start=1):
        judge(world)
        if number % 50 == 0:
            work_on(world.disk)
    return number


@pytest.mark.medium
def test_two_first_saves_of_one_name_both_succeed_and_one_is_there():
    scene = Scene()

    def begin() -> MemoryDisk:
        disk = MemoryDisk(clock=lambda: 0.0)
        bundle.make_directories(disk, "runs")
        return disk

    for world in every_order(begin, [scene.saves(1), scene.saves(2)]):
        judge_two_overwriters(world)


def best_is(*allowed: int) -> Judge:
    def judge(world: World) -> None:
        finished(world, CheckpointReplacedError, CheckpointNotFoundError)
        assert held_by(world.disk) in allowed, world.schedule

    return judge


def judge_lister_deletion_and_save(world: World) -> None:
    finished(world, CheckpointNotFoundError)
    assert [each.problem for each in world.outcomes[0].result if each.problem] == [], world.schedule


def trios() -> dict[str, tuple[Scene, Sequence[Act], Judge]]:
    s = Scene()
    return {
        "an overwriter, a deletion by id and a sweeper": (s, [s.saves(1), s.deletes(), s.sweeps()], best_is(1)),
        "two overwriters and a deletion by id": (s, [s.saves(1), s.saves(2), s.deletes()], best_is(1, 2)),
        "a lister, a deletion and a first save": (
            s, [s.lists(), s.deletes(by_id=False), s.saves(1)], judge_lister_deletion_and_save
        ),
    }  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize("trio", trios())
@pytest.mark.parametrize("times", [100, 400])
def test_three_at_once_lose_nothing_either(trio: str, times: int):
    scene, acts, judge = trios()[trio]
    for world in some_orders(scene.begin, acts, times, seed=len(trio)):
        judge(world)


class DeletedAndSavedAnew(TappedDisk):
    """Before a record is opened for the first time, its bundle is deleted and another saved under its name."""

    is_done = False

    def around(self, operation, do):
        if operation.kind == "open" and not self.is_done:
            self.is_done = True
            bundle.delete(self._disk, place("runs"))
            Writer(self._disk).save(1)
        return do()


def test_a_checkpoint_saved_in_place_of_one_that_is_being_deleted_is_not_listed_as_damaged():
    scene = Scene()
    [found] = bundle.scan(DeletedAndSavedAnew(scene.begin()), "runs")
    assert found.problem is None


# The tests are tested: each of these wrong protocols loses something, and must be found out.


def remove_all_but_mine(inside, place, id, replaced) -> None:
    for name in inside.names():
        if id not in name and name != "checkpoint.json":
            inside.unlink(name)


def delete_in_place(disk, path, *, expected_id=None) -> None:
    _leftovers.remove_trash(disk, "runs", path)


def never_look_again(disk, place, inside) -> bool:
    return True


def nobody_holds(inside, owner, entries, now_s) -> bool:
    """Age alone decides."""
    return all((now_s or 7200.0) - inside.status(entry).modified_s > _leftovers.GRACE_S for entry in entries)


LOSING = [
    (_commit, "_unlink_replaced", remove_all_but_mine, "two overwriters"),
    (_commit, "_is_still", never_look_again, "an overwriter and a deletion by id"),
    (_delete, "_settle", lambda disk, aside, trash, *_: disk.rename(aside, trash), "an overwriter and a deletion by id"),
    (bundle, "delete", delete_in_place, "a reader and a deletion by id"),
    (bundle, "delete", delete_in_place, "an overwriter and a deletion by id"),
    (bundle, "delete", delete_in_place, "a lister and a deletion by id"),
    (_leftovers, "_is_abandoned", nobody_holds, "a slow first save and a sweeper"),
    (_leftovers, "_is_abandoned", nobody_holds, "a slow overwriter and a later one"),
]  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize(("module", "name", "wrong", "pair"), LOSING)
def test_a_protocol_that_loses_checkpoints_is_found_out(module, name, wrong, pair, monkeypatch):
    monkeypatch.setattr(module, name, wrong)
    scene, acts, judge = pairs()[pair]
    with pytest.raises((AssertionError, HoldfastError, OSError)):
        judge_every(every_order, scene, acts, judge)
