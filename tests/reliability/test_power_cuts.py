"""Once a save has returned, a power cut does not lose it, on real file systems: FS_IOC_SHUTDOWN and mount again."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from holdfast.storage import LocalDisk
from tests.support.reliability.numbered import Saver, number_in
from tests.support.reliability.power_cuts import Figures, cut_once
from tests.support.reliability.saver import Savers, Told
from tests.support.reliability.volumes import TO_CUT, Kind, Volume, lacking, power_cut

CUTS = 50  # on each of the four file systems
FORGOTTEN = {
    "the sync of files": ("sync", "sync_file"),
    "the sync of directories": ("sync_directory",),
    "every sync": ("sync", "sync_file", "sync_directory"),
}


@pytest.fixture(scope="module")
def savers() -> Iterator[Savers]:
    with Savers() as made:
        yield made


@pytest.fixture(params=TO_CUT, ids=lambda kind: kind.name)
def volume(request: pytest.FixtureRequest) -> Iterator[Volume]:
    kind: Kind = request.param
    if why := lacking(kind):
        pytest.skip(f"no real power cuts on {why}")
    with Volume(kind) as made:
        yield made


def test_a_power_cut_loses_nothing_that_was_acknowledged(savers: Savers, volume: Volume):
    """A few cuts, for every run of the tests."""
    _cut(savers, volume, cuts=2, seed=1)


def test_a_durable_save_does_not_lean_on_one_that_a_power_cut_may_take(volume: Volume):
    """What it links of a checkpoint with less durability is made durable first."""
    saver = Saver(volume.path / "runs")
    saver.save(1, "loose", durability="process")
    assert saver.save(2, "firm").bytes_shared > 0
    power_cut(volume.path)
    volume.mount_again()
    assert number_in(volume.path / "runs" / "firm.ckpt.mml") == 2


def test_what_a_power_cut_took_is_not_said_to_be_durable(volume: Volume):
    """XFS lets the sync of a directory succeed once it has shut down, though the rename before is lost."""
    disk, runs = LocalDisk(), volume.path / "runs"
    runs.mkdir()
    (runs / "old").mkdir()
    with disk.open_directory(str(runs)) as directory:
        directory.sync()
        disk.rename(str(runs / "old"), str(runs / "new"))
        power_cut(volume.path)
        with pytest.raises(OSError, match="Input/output error"):
            directory.sync()
    volume.mount_again()
    assert [entry.name for entry in runs.iterdir()] == ["old"]


@pytest.mark.slow
def test_fifty_power_cuts_lose_nothing_that_was_acknowledged(savers: Savers, volume: Volume):
    figures = _cut(savers, volume, CUTS, seed=2)
    assert figures.after == figures.amid == CUTS // 2
    assert figures.saved > CUTS


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_these_cuts_catch_a_writer_that_leaves_out_a_sync(forgotten: str, savers: Savers, volume: Volume):
    with pytest.raises(AssertionError, match=r"half-visible|and may hold"):
        _cut(savers, volume, cuts=30, seed=3, forget=FORGOTTEN[forgotten])


def _cut(savers: Savers, volume: Volume, cuts: int, seed: int, forget: tuple[str, ...] = ()) -> Figures:
    draw, told, figures = random.Random(seed), Told(), Figures()
    while figures.cuts < cuts:
        cut_once(savers, volume, told, draw, figures, forget=forget)
    return figures
