"""A full disk fails the save and nothing else; with room again, the next save works. On real file systems."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.reliability.full_disks import SAVES, Figures, FullDisk, Save
from tests.support.reliability.numbered import LARGE
from tests.support.reliability.volumes import SMALL_EXT4, SMALL_TMPFS, Kind, Volume, lacking

STEPS = range(0, 112, 2)  # percent of a save that there is room for


@pytest.fixture(params=[SMALL_TMPFS, SMALL_EXT4], ids=lambda kind: kind.name)
def volume(request: pytest.FixtureRequest) -> Iterator[Volume]:
    kind: Kind = request.param
    if why := lacking(kind):
        pytest.skip(f"no disk to fill up: {why}")
    with Volume(kind) as made:
        yield made


def test_a_save_onto_a_full_disk_harms_nothing(volume: Volume):
    assert _by_bytes(volume, "an overwrite", percents=(0, 40, 98, 110)).cases == 4


@pytest.mark.slow
@pytest.mark.parametrize("save", SAVES)
def test_a_save_with_room_for_any_part_of_it_fails_clean_or_works(save: Save, volume: Volume):
    figures = _by_bytes(volume, save, STEPS)
    assert figures.cases == len(STEPS) == 56
    assert 45 <= figures.refused <= 52


@pytest.mark.slow
def test_a_save_around_the_page_cache_fails_clean_or_works(volume: Volume):
    assert _by_bytes(volume, "a new name", range(0, 120, 10), LARGE).cases == 12


@pytest.mark.slow
@pytest.mark.parametrize("save", SAVES)
def test_a_save_with_too_few_inodes_fails_clean_or_works(save: Save, volume: Volume):
    disk, figures = FullDisk(volume), Figures()
    _, need = disk.need(save)
    assert need >= 4  # the folder, a pack, the tree, the record
    worked = [disk.try_with(save, figures, free_inodes=free) for free in range(need + 3)]
    assert not worked[0]
    assert worked[-1]
    assert worked == sorted(worked)


def _by_bytes(volume: Volume, save: Save, percents: Iterator[int], size_bytes: int = 1 << 20) -> Figures:
    disk, figures = FullDisk(volume, size_bytes), Figures()
    need, _ = disk.need(save)
    worked = [disk.try_with(save, figures, free_bytes=need * percent // 100) for percent in percents]
    assert not worked[0], "there was room, and should not have been"
    assert worked[-1], "there was room enough, and the save failed"
    return figures
