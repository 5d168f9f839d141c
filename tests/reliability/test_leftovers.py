"""What killed savers leave is bounded and goes; what is alive, or only damaged, never does."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import bundle
from holdfast.bundle._leftovers import sweep_bundle
from holdfast.storage import LocalDisk
from tests.support.reliability.leftovers import (
    bytes_referenced,
    bytes_there,
    kill,
    let_a_day_pass,
    now_by_disk_s,
    one_operation_s,
    save_each_again,
)
from tests.support.reliability.numbered import Saver, held
from tests.support.reliability.saver import Job, Savers, Told

ONE_SAVE_BYTES = 450 << 10  # what does not change, what does, and the header between them


@pytest.fixture(scope="module")
def savers() -> Iterator[Savers]:
    with Savers() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, 200])
def test_what_kills_leave_is_gone_after_the_next_saves(kills: int, savers: Savers, tmp_path: Path):
    directory, draw, told = tmp_path / "runs", random.Random(19), Told()
    operation_s = one_operation_s(savers, directory, told)
    for _ in range(kills):
        kill(savers, directory, told, draw, operation_s)
    while bytes_there(directory) == bytes_referenced(
        directory
    ):  # on a busy machine they may all come too early
        kill(savers, directory, told, draw, operation_s)
        kills += 1
    referenced, there = bytes_referenced(directory), bytes_there(directory)
    assert referenced < there <= referenced + kills * ONE_SAVE_BYTES, "at most one save's worth for each kill"
    save_each_again(directory, told)
    assert bytes_there(directory) > 1.01 * bytes_referenced(directory), "this was too young to be removed"
    let_a_day_pass(directory)
    save_each_again(directory, told)
    assert bytes_there(directory) <= 1.01 * bytes_referenced(directory)


@pytest.mark.parametrize("pause_at", [2, 5, 8, 11])
@pytest.mark.parametrize("is_there", [False, True], ids=["a new name", "an overwrite"])
def test_a_slow_save_that_is_alive_is_never_taken_for_a_leftover(
    is_there: bool, pause_at: int, savers: Savers, tmp_path: Path
):
    directory, told = tmp_path / "runs", Told()
    directory.mkdir()
    if is_there:
        Saver(directory).save(1, "rolling")
    seed = next(seed for seed in range(99) if (random.Random(seed).random() < 0.5) == is_there)
    hear = savers.start(Job(str(directory), 2, seed, operations=1, pause_at=pause_at, sweep=False), told)
    assert hear()  # it has begun
    assert hear()  # it has paused
    let_a_day_pass(directory)
    bundle.sweep(LocalDisk(), str(directory), now_by_disk_s(directory))
    if is_there:
        with LocalDisk().open_directory(bundle.bundle_path(str(directory), "rolling")) as inside:
            sweep_bundle(inside)
    savers.signal(signal.SIGUSR1)
    while hear():
        pass
    assert told.done == 1
    assert held(directory) == ({"rolling": 2} if is_there else {"other2": 2})


def test_a_damaged_bundle_is_never_a_leftover(tmp_path: Path):
    saver = Saver(tmp_path)
    for number, name in enumerate(("cut", "empty", "without")):
        saver.save(number, name)
    cut, empty, without = (
        tmp_path / f"{name}.ckpt.mml/checkpoint.json" for name in ("cut", "empty", "without")
    )
    cut.write_bytes(cut.read_bytes()[:-100])
    empty.write_bytes(b"")
    without.unlink()
    before = _contents(tmp_path)
    let_a_day_pass(tmp_path)
    bundle.sweep(LocalDisk(), str(tmp_path), now_by_disk_s(tmp_path))
    Saver(tmp_path).save(9, "another")
    after = _contents(tmp_path)
    assert {path: data for path, data in after.items() if "another" not in path} == before


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
