"""When a rank fails, dies, hangs or arrives late: the save fails on all ranks with one error that names it, and nothing waits for ever."""

from __future__ import annotations

import errno
import threading
import time
from typing import Any

import numpy as np
import pytest

from holdfast.bundle import save_together
from holdfast.crew import Crew, FolderBoard
from holdfast.errors import CommitUncertainError, CrewError, SaveError
from holdfast.records import CheckpointRecord
from holdfast.state import rebuild
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import Operation, TappedDisk
from tests.support.crews import Captured, DictBoard, box_of, draft, opened, save_boxes, together
from tests.support.schedules import World

ARRAY = np.arange(24.0).reshape(6, 4)


class Failing(TappedDisk):
    """A disk on which one operation of one rank does `what`."""

    def __init__(self, disk: Any, at: int, what: Any) -> None:
        super().__init__(disk)
        self.left, self.what = at, what

    def around(self, operation: Operation, do: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.what()
        return do()


def captured(rank: int, ranks: int) -> Captured:
    size = 6 // ranks
    box, part = box_of("a", ARRAY, (size * rank, 0), (size, 4))
    return Captured({"a": box}, {"a": part})


def save_on(disks: list[Any], **options: Any) -> list[Any]:
    """A save in which each rank has a disk of its own making, over one that they share."""

    def act(crew: Crew) -> CheckpointRecord:
        size = len(disks)
        return save_together(crew, disks[crew.rank], "runs", draft("best"), lambda: captured(crew.rank, size))

    return together(act, len(disks), **options)


def refuse() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.medium
def test_a_full_disk_on_one_rank_is_the_same_error_on_all_and_nothing_is_left(rank):
    failed = 0
    for at in range(1, 60):
        world = World(at, 3, disk := MemoryDisk(), deaths={})

        def act(crew: Crew, seen: Any, at: int = at) -> CheckpointRecord:
            mine = Failing(seen, at, refuse) if crew.rank == rank else seen
            return save_together(crew, mine, "runs", draft("best"), lambda: captured(crew.rank, 3))

        world.run(act)
        results = [each.result for each in world.ranks]
        if not isinstance(results[1 - min(rank, 1)], Exception):
            continue
        failed += 1
        assert len({(type(each), str(each)) for each in results}) == 1, (at, results)
        assert isinstance(results[0], SaveError)
        if isinstance(results[0], CommitUncertainError):
            assert disk.folders("runs") == ["best.ckpt.mml"]
            continue
        assert "ENOSPC" in str(results[0])
        assert disk.folders(".") == [] or disk.folders("runs") == [], at
    assert failed >= 5


def test_a_rank_that_fails_is_named():
    disk = MemoryDisk()
    results = save_on([disk, Failing(disk, 3, refuse), disk])
    assert {str(each) for each in results} == {
        "could not save runs/best.ckpt.mml: rank 1: No space left on device [ENOSPC]. Earlier checkpoints are untouched."
    }


@pytest.mark.medium
def test_a_rank_that_does_not_come_is_named_and_nobody_waits_longer_than_the_limit():
    disk, board = MemoryDisk(), DictBoard()

    def act(crew: Crew) -> Any:
        if crew.rank == 2:
            return None
        return save_together(crew, disk, "runs", draft("best"), lambda: captured(crew.rank, 3))

    begun = time.monotonic()
    first, second, _ = together(act, 3, timeout_s=0.5, board=board)
    assert time.monotonic() - begun < 5
    assert str(first) == str(second)
    assert "rank 2 did not answer within 0.5 s" in str(first)
    assert isinstance(first, SaveError)


@pytest.mark.medium
def test_a_rank_that_is_late_gets_the_error_that_all_had_and_takes_part_in_the_next_save():
    disk, board = MemoryDisk(), DictBoard()

    def act(crew: Crew) -> Any:
        if crew.rank == 1:
            time.sleep(1.0)
        with pytest.raises(SaveError) as caught:
            save_together(crew, disk, "runs", draft("one"), lambda: captured(crew.rank, 2))
        record = save_together(crew, disk, "runs", draft("two"), lambda: captured(crew.rank, 2))
        return str(caught.value), record.id

    (why, id), other = together(act, 2, timeout_s=0.6, board=board)
    assert (why, id) == other
    assert "rank 1 did not answer" in why
    with opened(disk, "two") as found:
        assert np.array_equal(rebuild(found)["a"], ARRAY)


class Breaking:
    """A board that one rank cannot reach any more from its n-th message on."""

    def __init__(self, board: Any, after: int) -> None:
        self._board, self.left = board, after

    def tell(self, key: str, data: bytes) -> None:
        self._reach()
        self._board.tell(key, data)

    def look(self, keys: Any) -> dict[str, bytes]:
        self._reach()
        return self._board.look(keys)

    def forget(self, keys: Any) -> None:
        self._board.forget(keys)

    def _reach(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CrewError("the store that the processes share cannot be reached", "connection reset")


@pytest.mark.medium
@pytest.mark.parametrize("rank", [0, 1])
def test_whatever_is_told_or_not_all_ranks_say_of_a_save_what_the_disk_says(rank):
    outcomes = set()
    for after in range(40):
        world = World(after, 2, disk := MemoryDisk(), deaths={})
        world.boards[rank] = Breaking(world.boards[rank], after)
        world.run(lambda crew, seen: save_together(
            crew, seen, "runs", draft("best"), lambda: captured(crew.rank, 2)
        ))  # fmt: skip
        is_there = "runs" in disk.folders(".") and "best.ckpt.mml" in disk.folders("runs")
        outcomes.add(is_there)
        for each in world.ranks:
            assert isinstance(each.result, CheckpointRecord if is_there else SaveError), (after, each.result)
        if is_there:
            with opened(disk) as found:
                assert np.array_equal(rebuild(found)["a"], ARRAY)
        else:
            assert "runs" not in disk.folders(".") or disk.folders("runs") == []
    assert outcomes == {True, False}


@pytest.mark.medium
def test_ranks_that_do_not_share_a_file_system_are_told_so(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    disks = [LocalDisk(str(tmp_path / str(rank))) for rank in range(2)]
    results = save_on(disks, timeout_s=1.0)
    assert {type(each) for each in results} == {SaveError}
    assert len({str(each) for each in results}) == 1
    assert "rank 1: it does not see the directory" in str(results[0])
    assert "All ranks must save into one directory of a file system that they share" in str(results[0])


def test_a_crew_can_talk_in_a_folder(tmp_path):
    disk = LocalDisk(str(tmp_path))
    board = FolderBoard(disk, "talk")
    results = save_boxes(
        disk, [{"a": ((3 * rank, 0), (3, 4))} for rank in range(2)], {"a": ARRAY}, board=board
    )
    assert len({each.id for each in results}) == 1
    results = save_on([disk, disk, disk], board=FolderBoard(disk, "more"))
    with opened(disk) as found:
        assert np.array_equal(rebuild(found)["a"], ARRAY)


def test_messages_of_an_earlier_save_are_removed():
    board, disk = DictBoard(), MemoryDisk()

    def act(crew: Crew) -> None:
        for index in range(5):
            save_together(crew, disk, "runs", draft(f"n{index}"), lambda: captured(crew.rank, 2))

    assert together(act, 2, board=board) == [None, None]
    assert {key.split("/")[0] for key in board.messages} <= {"4", "5"}


@pytest.mark.medium
def test_a_rank_0_that_hangs_is_given_up_and_cannot_commit_any_more():
    disk, held, resumed = MemoryDisk(), threading.Event(), threading.Event()

    def hang() -> None:
        held.set()
        resumed.wait(20)

    class HangingBeforeRename(TappedDisk):
        def around(self, operation: Operation, do: Any) -> Any:
            if operation.kind == "rename_directory" and not held.is_set():
                hang()
            return do()

    results: list[Any] = [None, None]

    def act(crew: Crew) -> None:
        mine = HangingBeforeRename(disk) if crew.rank == 0 else disk
        try:
            results[crew.rank] = save_together(
                crew, mine, "runs", draft("best"), lambda: captured(crew.rank, 2)
            )
        except Exception as err:
            results[crew.rank] = err
        if crew.rank == 1:
            resumed.set()

    together(act, 2, timeout_s=0.4)
    assert held.is_set()
    assert isinstance(results[1], SaveError)
    assert "rank 0 did not answer" in str(results[1])
    assert isinstance(results[0], SaveError)
    assert "gave it up" in str(results[0])
    assert disk.folders("runs") == []
