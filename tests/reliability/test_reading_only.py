"""Looking at checkpoints, loading and verifying them writes nothing: also where nothing can be written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import holdfast
from holdfast.cli import app
from holdfast.errors import SaveError
from holdfast.state import capture, digest
from tests.support.reliability.numbered import Saver, held, numbered
from tests.support.reliability.volumes import EXT4, XFS, Volume, lacking

NOBODY = 65534
COMMANDS = (["ls"], ["ls", "--json"], ["show"], ["verify"], ["verify", "--deep"])


def fingerprint(directory: Path) -> str:
    """Of names, kinds, owners, modes, sizes, times of change, and contents of all that is there."""
    found = hashlib.sha256()
    for path in sorted([directory, *directory.rglob("*")]):
        about = path.lstat()
        facts = (about.st_mode, about.st_uid, about.st_nlink, about.st_size, about.st_mtime_ns)
        found.update(repr((str(path), facts)).encode())
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def some_checkpoints(directory: Path) -> None:
    """Two that share, one that was overwritten, and what a killed save has left of a third."""
    saver = Saver(directory / "train")
    for number, name in enumerate(("first", "second", "first")):
        saver.save(number, name)
    part = directory / "train" / f".third.{'0' * 32}.part"
    part.mkdir()
    (part / "owner").touch()
    for path in (directory, *directory.rglob("*")):
        os.utime(path, (1e9, 1e9))  # old enough to be swept, if looking swept


def use_all_ways_of_reading(directory: Path) -> None:
    assert held(directory / "train") == {"first": 2, "second": 1}
    listed = holdfast.scan(directory)
    assert [each.record.name for each in listed if each.record] == ["second", "first"]
    for each in listed:
        assert each.record is not None
        expected = numbered(each.record.moment.step)
        with holdfast.open(each.path) as checkpoint:
            assert checkpoint.verify(deep=True) == []
            assert digest(capture(checkpoint.load())) == digest(capture(expected))
            assert (checkpoint["changing"] == expected["changing"]).all()
            live: dict[str, Any] = {"changing": expected["changing"] * 0}
            checkpoint.restore(live, strict=False)
            assert (live["changing"] == expected["changing"]).all()
    for command in COMMANDS:
        place = listed[0].path if command[0] == "show" else str(directory)
        shown = CliRunner().invoke(app, [*command, place])
        assert shown.exit_code == 0, (command, shown.output)
        assert "second" in shown.stdout


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where every user may look: the folders of `tmp_path` are their owner's only."""
    with tempfile.TemporaryDirectory(prefix="holdfast-reading-") as made:
        os.chmod(made, 0o755)
        yield Path(made)


@pytest.mark.parametrize("kind", [EXT4, XFS], ids=lambda kind: kind.name)
def test_a_read_only_mount_is_enough_to_list_open_load_and_verify(kind):
    if why := lacking(kind):
        pytest.skip(f"no read-only mount: {why}")
    with Volume(kind) as volume:
        some_checkpoints(volume.path)
        volume.remount("ro")
        before = fingerprint(volume.path)
        use_all_ways_of_reading(volume.path)
        with pytest.raises(SaveError, match="EROFS"):
            Saver(volume.path / "train").save(7, "first")
        assert fingerprint(volume.path) == before


@pytest.mark.medium
def test_who_may_only_read_can_list_open_load_and_verify(directory: Path):
    some_checkpoints(directory)
    use_all_ways_of_reading(directory)  # what is imported at first use may be out of another user's reach
    before = fingerprint(directory)
    with another_user(directory):
        use_all_ways_of_reading(directory)
        with pytest.raises(SaveError, match="EACCES"):
            Saver(directory / "train").save(7, "first")
        with pytest.raises(SaveError, match="EACCES"):
            Saver(directory / "train").save(7, "fourth")
    assert fingerprint(directory) == before


@contextlib.contextmanager
def another_user(directory: Path) -> Iterator[None]:
    """As root: go on as nobody; else the directory's owner gives up writing, which is the same but for the name."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    modes = {path: path.lstat().st_mode for path in (directory, *directory.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
