"""A training that is killed at any instant, and killed again, ends as an uninterrupted one, and never goes back behind a save."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.reliability.kills_of_training import Killer, Nursery
from tests.support.reliability.volumes import XFS, Volume, lacking

KILLS, CUTS = 50, 12


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.mark.slow
def test_trainings_killed_at_fifty_random_instants_end_as_uninterrupted_ones(
    nursery: Nursery, tmp_path: Path
):
    killer = Killer(nursery, tmp_path, random.Random(6))
    while killer.figures.kills < KILLS:
        killer.kill_one_run()
    assert killer.figures.runs > 3
    assert killer.figures.saves > KILLS


@pytest.mark.slow
def test_trainings_whose_power_is_cut_end_as_uninterrupted_ones(nursery: Nursery, tmp_path: Path):
    if why := lacking(XFS):
        pytest.skip(f"no real power cuts on {why}")
    with Volume(XFS) as volume:
        killer = Killer(nursery, tmp_path, random.Random(7), volume)
        while killer.figures.kills < CUTS:
            killer.kill_one_run()
    assert killer.figures.saves > CUTS
