"""Once a save has returned, no power cut loses it; before that, the old checkpoint is still there.

Every state that a file system may leave is made of what was recorded, and judged (see `crash_checker`).
"""

from __future__ import annotations

import itertools
from random import Random

import pytest

from holdfast.testing import RecordingDisk, crash_states
from tests.support.reliability.crash_checker import Checker
from tests.support.reliability.lives import evict, lives, lives_after_a_death, save_best, short_lives, train


@pytest.mark.medium
def test_a_power_cut_at_any_time_loses_nothing_that_was_promised(record_property):
    checker = Checker(cap=12, random=Random(0), second=0.01)
    checker.check_lives(itertools.islice(short_lives(), 32))
    record_property("figures", checker.figures)
    assert checker.states >= 4_000
    assert checker.distinct >= 1_000


@pytest.mark.slow
def test_100_000_crash_states_and_not_one_checkpoint_lost(record_property):
    checker = Checker(cap=24, random=Random(1), second=0.04)
    checker.check_lives(
        itertools.chain([(save_best, evict, train)], short_lives(), lives(3), lives_after_a_death())
    )
    print(checker.figures)
    record_property("figures", checker.figures)
    assert checker.states >= 100_000
    assert checker.distinct >= 10_000


def test_a_directory_that_was_moved_twice_is_in_one_place_after_any_crash():
    disk = RecordingDisk()
    for folder in ("", "/best"):
        disk.mkdir(f"runs{folder}")
    disk.rename("runs/best", "runs/aside")
    disk.rename("runs/aside", "runs/trash")
    places = {
        tuple(path for path, _ in image.paths() if path != "runs")
        for _, image in crash_states(disk.events, 64, Random(0))
    }
    assert places == {(), ("runs/best",), ("runs/aside",), ("runs/trash",)}
