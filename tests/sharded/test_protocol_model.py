"""Of a save by many ranks, in orders drawn at random, with deaths and stops at any operation, all say what the disk says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.bundle import SUFFIX, Bundle, save_together
from holdfast.crew import Crew
from holdfast.errors import SaveError
from holdfast.records import CheckpointRecord
from holdfast.state import rebuild
from holdfast.storage import MemoryDisk
from tests.support.crews import Captured, box_of, draft, save_boxes
from tests.support.schedules import World

OLD, NEW = np.zeros((6, 4)), np.arange(24.0).reshape(6, 4)


def saved_before(size: int) -> MemoryDisk:
    disk = MemoryDisk(clock=lambda: 0.0)
    rows = 6 // size
    save_boxes(disk, [{"a": ((rows * rank, 0), (rows, 4))} for rank in range(size)], {"a": OLD}, name="old")
    return disk


def save_new(crew: Crew, disk: Any) -> CheckpointRecord:
    rows = 6 // crew.size
    box, part = box_of("a", NEW, (rows * crew.rank, 0), (rows, 4))
    return save_together(crew, disk, "runs", draft("new"), lambda: Captured({"a": box}, {"a": part}))


def value_of(disk: MemoryDisk, name: str) -> np.ndarray:
    with Bundle(disk, f"runs/{name}{SUFFIX}") as opened:
        assert list(opened.problems(deep=True)) == []
        return rebuild(opened)["a"]


def check(disk: MemoryDisk, world: World, about: object) -> bool:
    """Whether it was saved; all that live must know, and what was there before is as it was."""
    assert np.array_equal(value_of(disk, "old"), OLD), about
    is_there = f"new{SUFFIX}" in disk.folders("runs")
    if is_there:
        assert np.array_equal(value_of(disk, "new"), NEW), about
    for rank in world.ranks:
        if not rank.is_dead:
            kinds = CheckpointRecord if is_there else SaveError
            assert isinstance(rank.result, kinds), (about, rank.number, is_there, rank.result)
    return is_there


@pytest.mark.medium
@pytest.mark.parametrize("size", [2, 3])
def test_in_any_order_all_save(size):
    for seed in range(20):
        world = World(seed, size, disk := saved_before(size), deaths={})
        world.run(save_new)
        assert check(disk, world, seed)
        assert len({rank.result.id for rank in world.ranks}) == 1


@pytest.mark.medium
@pytest.mark.parametrize("size", [2, 3])
def test_a_rank_may_die_before_any_operation(size):
    outcomes = set()
    for rank in range(size):
        moves = 0
        while True:
            moves += 1
            world = World(moves, size, disk := saved_before(size), deaths={rank: moves})
            world.run(save_new)
            outcomes.add(check(disk, world, (rank, moves)))
            if not world.ranks[rank].is_dead:
                break  # it has come to its end
        assert moves > 20
    assert outcomes == {True, False}


@pytest.mark.slow
def test_ranks_may_die_and_be_stopped_at_any_time():
    outcomes = []
    for seed in range(600):
        size = 2 + seed % 2
        deaths = {seed % size: 1 + seed % 90} if seed % 3 else {}
        world = World(seed, size, disk := saved_before(size), deaths=deaths)
        world.run(save_new, leaps=0.01)
        outcomes.append(check(disk, world, seed))
    assert 30 < sum(outcomes) < len(outcomes) - 30
