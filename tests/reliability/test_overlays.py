"""On an overlay file system no directory of a lower layer can be renamed; what is to go goes all the same."""

from __future__ import annotations

import errno
import shutil
import subprocess

import pytest

from holdfast import bundle
from holdfast.errors import NotChangedError
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import FaultyDisk
from tests.support.reliability.lives import BEST, FOLDER, Saver

REFUSED = frozenset({"rename_directory"})


@pytest.mark.parametrize("is_expected", [False, True])
def test_what_cannot_be_renamed_is_deleted_in_its_place(is_expected):
    disk = MemoryDisk()
    Saver(disk).save(1, BEST)
    (saved,) = bundle.scan(disk, FOLDER)
    assert saved.record is not None
    faulty = FaultyDisk(disk, 0, errno.EXDEV, lasting=True, kinds=REFUSED)
    bundle.delete(faulty, BEST, expected_id=saved.record.id if is_expected else None)
    assert disk.folders(FOLDER) == []


def test_a_deletion_that_the_disk_refuses_says_so_and_nothing_of_a_save():
    disk = MemoryDisk()
    Saver(disk).save(1, BEST)
    with pytest.raises(NotChangedError) as told:
        bundle.delete(FaultyDisk(disk, 0, errno.EROFS, kinds=REFUSED), BEST)
    assert "it cannot be removed: Read-only file system" in str(told.value)
    assert "could not save" not in str(told.value)


@pytest.fixture
def overlay(tmp_path):
    """Where an overlay lies over `lower/`, which holds one checkpoint."""
    base = tmp_path / "base"
    base.mkdir()
    if shutil.which("mount") is None or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", base]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        bundle.make_directories(LocalDisk(), f"{base}/lower/{FOLDER}")
        Saver(LocalDisk(str(base / "lower"))).save(1, BEST)
        layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work,redirect_dir=off"
        if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, base / "merged"]).returncode:
            pytest.skip("there are no overlays here")
        yield base / "merged"
        subprocess.run(["umount", base / "merged"], check=True)
    finally:
        subprocess.run(["umount", base], check=True)


def test_a_checkpoint_of_a_lower_layer_is_deleted(overlay):
    disk = LocalDisk(str(overlay))
    bundle.delete(disk, BEST)
    assert disk.folders(FOLDER) == []
