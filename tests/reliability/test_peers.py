"""The faults that strike the peers in `make bench-reliability` strike: it sees what is lost, and what is not."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from benchmarks.faulted import PEERS, Worker
from benchmarks.reliability import damage, disk_full, kills, power_cuts, table
from tests.support.reliability.volumes import EXT4_NO_AUTO_DA, SMALL_TMPFS, lacking

pytestmark = pytest.mark.slow
HOLDFAST, TORCH = "Holdfast", "torch.save"


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Worker]]:
    made = [Worker(peer) for peer in PEERS if peer.name in (HOLDFAST, TORCH)]
    yield made
    for worker in made:
        worker.close()


def test_flipped_bits_are_silent_for_one_and_found_by_the_other(workers: list[Worker], tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tally = damage(lambda: iter(workers), 6, random.Random(0))
    assert tally[TORCH]["anywhere: silent"] == 6
    assert tally[HOLDFAST] == {"anywhere: detected": 6, "near the ends: detected": 3, "cut: detected": 3}
    shown = table({"damage": tally}, [HOLDFAST, TORCH])
    assert "| torch.save | - | - | - | - | **6** of 6 |" in shown


def test_kills_leave_one_state_or_the_other(workers: list[Worker], tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tally = kills(lambda: iter(workers[:1]), 3, random.Random(0), size_bytes=4 << 20)[HOLDFAST]
    assert tally["old"] + tally["new"] + tally["too late"] == 3
    assert tally["none"] == 0
    assert tally["left MB"] == 0


def test_a_full_disk_takes_the_old_checkpoint_of_one_and_not_of_the_other(workers: list[Worker]):
    if why := lacking(SMALL_TMPFS):
        pytest.skip(f"no disk to fill up: {why}")
    tally = disk_full(lambda: iter(workers), 1)
    assert tally[TORCH]["old lost"] == 1
    assert tally[HOLDFAST] == {"cases": 2, "old: raised": 1, "new: raised": 1, "old lost": 0, "room kept": 0}


def test_a_power_cut_takes_the_save_of_one_and_not_of_the_other(workers: list[Worker]):
    if why := lacking(EXT4_NO_AUTO_DA):
        pytest.skip(f"no real power cuts on {why}")
    tally = power_cuts(lambda: iter(workers), EXT4_NO_AUTO_DA, 1)
    assert tally[TORCH]["save lost"] == 2
    assert tally[HOLDFAST] == {"cuts": 2, "save lost": 0, "old gone too": 0}
