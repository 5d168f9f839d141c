"""Writers, deleters, sweepers and readers share a directory without locks, whoever comes first at what.

The real code runs, one operation at a time, in every order (see `interleaving`).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from bundle_cases import place
from interleaving import ActorDisk, Outcome, World, every_order, own_ids, some_orders
from protocol_cases import Writer, go_on, held_by, listed

from holdfast import bundle
from holdfast.bundle import _commit, _delete, _leftovers, _read
from holdfast.errors import CheckpointNotFoundError, CheckpointReplacedError, HoldfastError
from holdfast.storage import MemoryDisk

__all__ = ["own_ids"]  # a fixture

Act = Callable[[ActorDisk], Any]
pytestmark = pytest.mark.usefixtures("own_ids", "quick_records")


@pytest.fixture
def quick_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a record's bytes say is looked up, not decoded thousands of times."""
    monkeypatch.setattr(_read, "decode_record", functools.cache(_read.decode_record))


class Scene:
    """A directory in which `best` holds state 0; every actor gets its own copy of what is known of it."""

    def __init__(self) -> None:
        self._disk = MemoryDisk(clock=lambda: 0.0)
        self._writer = Writer(self._disk)
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

    def sweeps(self) -> Act:
        return lambda disk: bundle.sweep(disk, "runs", now_s=0.0)

    def reads(self) -> Act:
        return lambda disk: held_by(disk)


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


def judge_linker_and_deletion(world: World) -> None:
    finished(world)
    assert listed(world.disk) == {"last": 1}


def judge_reader_and_overwriter(world: World) -> None:
    reader, _ = finished(world)
    assert reader.result in (0, 1)


def judge_reader_and_deletion(world: World) -> None:
    reader, _ = finished(world)
    assert reader.result in (0, None)


def pairs(scene: Scene) -> dict[str, tuple[Sequence[Act], Callable[[World], None]]]:
    return {
        "two overwriters": ([scene.saves(1), scene.saves(2)], judge_two_overwriters),
        "an overwriter and a deletion by id": (
            [scene.saves(1), scene.deletes()],
            judge_overwriter_and_deletion_by_id,
        ),
        "an overwriter and a deletion": (
            [scene.saves(1), scene.deletes(by_id=False)],
            judge_overwriter_and_deletion,
        ),
        "a writer that links and a deletion": (
            [scene.saves(1, "last"), scene.deletes()],
            judge_linker_and_deletion,
        ),
        "a reader and an overwriter": ([scene.reads(), scene.saves(1)], judge_reader_and_overwriter),
        "a reader and a deletion": ([scene.reads(), scene.deletes()], judge_reader_and_deletion),
    }


SLOW = {"an overwriter and a deletion"}  # a minute; the one by id takes nearly the same way


@pytest.mark.parametrize(
    "pair", [pytest.param(pair, marks=pytest.mark.slow) if pair in SLOW else pair for pair in pairs(Scene())]
)
def test_in_every_order_no_committed_checkpoint_is_lost(pair: str):
    acts, judge = pairs(scene := Scene())[pair]
    assert judge_every_order(scene, acts, judge) > 1


def judge_every_order(scene: Scene, acts: Sequence[Act], judge: Callable[[World], None]) -> int:
    """The number of orders."""
    number = 0
    for number, world in enumerate(every_order(scene.begin, acts), start=1):
        judge(world)
        if number % 50 == 0:
            go_on(world.disk)
    return number


def test_two_first_saves_of_one_name_both_succeed_and_one_is_there():
    scene = Scene()

    def begin() -> MemoryDisk:
        disk = MemoryDisk(clock=lambda: 0.0)
        bundle.make_directories(disk, "runs")
        return disk

    for world in every_order(begin, [scene.saves(1), scene.saves(2)]):
        judge_two_overwriters(world)


TRIOS = {
    "an overwriter, a deletion by id and a sweeper": (lambda s: [s.saves(1), s.deletes(), s.sweeps()], {1}),
    "two overwriters and a deletion by id": (lambda s: [s.saves(1), s.saves(2), s.deletes()], {1, 2}),
}


@pytest.mark.parametrize("trio", TRIOS)
@pytest.mark.parametrize("times", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_three_at_once_lose_nothing_either(trio: str, times: int):
    scene = Scene()
    make, allowed = TRIOS[trio]
    for world in some_orders(scene.begin, make(scene), times, seed=len(trio)):
        finished(world, CheckpointReplacedError, CheckpointNotFoundError)
        assert held_by(world.disk) in allowed, world.schedule


# The tests are tested: each of these wrong protocols loses something, and must be found out.


def remove_all_but_mine(inside, place, id, replaced) -> None:
    for name in inside.names():
        if id not in name and name != "checkpoint.json":
            inside.unlink(name)


def delete_in_place(disk, path, *, expected_id=None) -> None:
    _leftovers.remove_trash(disk, "runs", path)


def never_look_again(disk, place, inside) -> bool:
    return True


@pytest.mark.parametrize(
    ("module", "name", "wrong", "pair"),
    [
        (_commit, "_unlink_replaced", remove_all_but_mine, "two overwriters"),
        (_commit, "_is_still", never_look_again, "an overwriter and a deletion by id"),
        (_delete, "_settle", lambda disk, aside, trash, *_: disk.rename(aside, trash), "an overwriter and a deletion by id"),
        (bundle, "delete", delete_in_place, "a reader and a deletion"),
        (bundle, "delete", delete_in_place, "an overwriter and a deletion by id"),
    ],
)  # fmt: skip
def test_a_protocol_that_loses_checkpoints_is_found_out(module, name, wrong, pair, monkeypatch):
    monkeypatch.setattr(module, name, wrong)
    acts, judge = pairs(scene := Scene())[pair]
    with pytest.raises((AssertionError, HoldfastError, OSError)):
        judge_every_order(scene, acts, judge)
