"""Bundles in directories: found, read, replaced and removed, and nobody else's files are touched."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from holdfast import bundle
from holdfast.bundle._leftovers import GRACE_S, GRACE_WITHOUT_LOCKS_S
from holdfast.errors import (
    CheckpointDamagedError,
    CheckpointExistsError,
    CheckpointNotFoundError,
    CheckpointReplacedError,
    SaveError,
)
from holdfast.records import leaves
from holdfast.storage import LocalDisk, MemoryDisk, Storage
from holdfast.testing import Crash, CrashingDisk, Operation, TappedDisk
from tests.support.bundle_cases import (
    SMALL,
    content,
    content_of,
    files,
    inodes,
    load,
    noise,
    place,
    save,
    tree,
)

DISK = LocalDisk()


def write(disk: Storage, path: str, name: str, data: bytes = b"mine") -> None:
    with disk.open_directory(path) as inside:
        file = inside.create(name)
        file.write(data)
        file.close()


# Finding


def test_a_scan_finds_every_bundle_below_by_its_record_alone(disk, runs):
    for directory, name in ((runs, "a"), (f"{runs}/pretrain", "b"), (f"{runs}/x/y/z", "c")):
        save(disk, directory, SMALL, name=name)
    found = {each.path: each.record for each in bundle.scan(disk, runs)}
    assert found.keys() == {f"{runs}/a.ckpt.mml", f"{runs}/pretrain/b.ckpt.mml", f"{runs}/x/y/z/c.ckpt.mml"}
    assert all(record is not None for record in found.values())
    assert [each.path for each in bundle.scan(disk, runs, depth=0)] == [f"{runs}/a.ckpt.mml"]
    assert [*bundle.scan(disk, f"{runs}/nowhere")] == []


def test_what_is_unfinished_hidden_or_moved_aside_is_not_listed(disk, runs):
    save(disk, runs, SMALL)
    with pytest.raises(Crash):
        save(CrashingDisk(disk, 8), runs, SMALL, name="unfinished")
    for name in (".hidden", f".old.{'0' * 32}.trash", f"x.ckpt.mml.damaged-{'0' * 32}", "empty"):
        disk.mkdir(f"{runs}/{name}")
    save(disk, f"{runs}/.hidden", SMALL)
    save(disk, f"{runs}/x.ckpt.mml.damaged-{'0' * 32}", SMALL)
    assert [each.path for each in bundle.scan(disk, runs)] == [place(runs)]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"cut'])
def test_a_bundle_whose_record_cannot_be_trusted_is_listed_as_damaged(disk, runs, data):
    disk.mkdir(runs)
    disk.mkdir(place(runs))
    write(disk, place(runs), "checkpoint.json", data)
    [listed] = bundle.scan(disk, runs)
    assert listed.record is None
    assert isinstance(listed.problem, CheckpointDamagedError)


def test_symbolic_links_are_not_followed_in_a_scan(tmp_path):
    save(DISK, str(tmp_path / "elsewhere"), SMALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "link.ckpt.mml").symlink_to(tmp_path / "elsewhere" / "best.ckpt.mml")
    assert [*bundle.scan(DISK, str(tmp_path / "runs"))] == []


# Reading


def test_opening_listing_and_verifying_change_nothing(disk, runs):
    save(disk, runs, SMALL)
    save(disk, runs, SMALL, name="other")
    before = tree(disk, runs)
    watched = _NoChanges(disk)
    for each in bundle.scan(watched, runs):
        assert load(watched, each.path)["step"] == 7
    assert tree(disk, runs) == before


class _NoChanges(TappedDisk):
    def around(self, operation: Operation, do):
        assert not operation.changes, operation
        return do()


def test_a_read_only_bundle_can_be_read(tmp_path):
    save(DISK, str(tmp_path), SMALL)
    for path in [*tmp_path.rglob("*")][::-1]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    assert load(DISK, place(str(tmp_path)))["step"] == 7
    (tmp_path / "best.ckpt.mml").chmod(0o700)


def test_an_opened_bundle_stays_what_it_was_when_it_is_overwritten_or_deleted(disk, runs):
    save(disk, runs, {"x": np.arange(3)})
    with bundle.Bundle(disk, place(runs)) as first:
        save(disk, runs, {"x": np.arange(4)})
        with bundle.Bundle(disk, place(runs)) as second:
            bundle.delete(disk, place(runs))
            for opened, size in ((first, 3), (second, 4)):
                assert [*opened.problems(deep=True)] == []
                assert next(leaves(opened.tree)).shape == (size,)


def test_a_place_without_a_bundle_is_not_found(disk, runs):
    with pytest.raises(CheckpointNotFoundError):
        bundle.Bundle(disk, place(runs))
    disk.mkdir(runs)
    write(disk, runs, "best.ckpt.mml")
    with pytest.raises(CheckpointNotFoundError, match="not the directory of a checkpoint"):
        bundle.Bundle(disk, place(runs))


def test_a_listed_bundle_that_was_replaced_is_not_opened_for_it(disk, runs):
    first = save(disk, runs, SMALL)
    second = save(disk, runs, SMALL)
    assert bundle.Bundle(disk, place(runs), expected_id=second.id).record == second
    with pytest.raises(CheckpointReplacedError) as caught:
        bundle.Bundle(disk, place(runs), expected_id=first.id)
    assert (caught.value.expected, caught.value.found) == (first.id, second.id)


# Overwriting


def test_an_overwrite_leaves_nothing_of_the_old_one_and_everything_of_strangers(disk, runs):
    first = save(disk, runs, {"x": noise(100_000, 1)})
    strangers = ("notes.txt", ".nfs0001", f"{'a' * 32}", f"{'a' * 32}.safetensors", "checkpoint.json.bak")
    for name in strangers:
        write(disk, place(runs), name)
    second = save(disk, runs, {"x": noise(100_000, 2)})
    found = files(disk, place(runs))
    assert found.keys() == {
        "checkpoint.json", second.tree.name, second.packs[0].name, *strangers,
    }  # fmt: skip
    assert not any(name.startswith(first.id) for name in found)
    assert all(found[name] == b"mine" for name in strangers)


def test_without_leave_to_overwrite_what_is_there_stays(disk, runs):
    first = save(disk, runs, {"x": 1})
    with pytest.raises(CheckpointExistsError):
        save(disk, runs, {"x": 2}, overwrite=False)
    assert bundle.Bundle(disk, place(runs)).record == first
    assert [name for name in disk.folders(runs) if name.startswith(".")] == []


def test_a_file_in_the_way_of_a_save_is_an_error_and_stays(disk, runs):
    disk.mkdir(runs)
    write(disk, runs, "best.ckpt.mml")
    with pytest.raises(SaveError, match=r"a file or a link .* move that away"):
        save(disk, runs, SMALL)
    assert disk.folders(runs) == []


def test_a_damaged_bundle_in_the_way_is_renamed_intact(disk, runs):
    save(disk, runs, {"x": 1})
    with disk.open_directory(place(runs)) as inside:
        inside.unlink("checkpoint.json")
    before = files(disk, place(runs))
    record = save(disk, runs, {"x": 2})
    assert load(disk, place(runs)) == {"x": 2}
    [aside] = [name for name in disk.folders(runs) if "damaged" in name]
    assert aside.startswith("best.ckpt.mml.damaged-")
    assert files(disk, f"{runs}/{aside}") == before
    assert bundle.sweep(disk, runs, now_s=1e12) == []
    assert [each.record for each in bundle.scan(disk, runs)] == [record]


# Deleting


def test_a_deleted_bundle_is_gone_and_only_that(disk, runs):
    save(disk, runs, {"x": noise(100_000, 1)})
    other = save(disk, runs, {"y": noise(100_000, 1)}, name="other")
    bundle.delete(disk, place(runs))
    assert disk.folders(runs) == ["other.ckpt.mml"]
    assert bundle.Bundle(disk, place(runs, "other")).record == other


def test_files_of_strangers_survive_a_deletion(disk, runs):
    save(disk, runs, SMALL)
    write(disk, place(runs), "notes.txt")
    bundle.delete(disk, place(runs))
    [trash] = disk.folders(runs)
    assert trash.endswith(".trash")
    assert files(disk, f"{runs}/{trash}") == {"notes.txt": b"mine"}
    assert bundle.sweep(disk, runs, now_s=1e12) == []
    assert files(disk, f"{runs}/{trash}") == {"notes.txt": b"mine"}


def test_a_bundle_that_is_not_the_one_meant_is_left_alone(disk, runs):
    first = save(disk, runs, {"x": 1})
    second = save(disk, runs, {"x": 2})
    with pytest.raises(CheckpointReplacedError):
        bundle.delete(disk, place(runs), expected_id=first.id)
    assert load(disk, place(runs)) == {"x": 2}
    bundle.delete(disk, place(runs), expected_id=second.id)
    assert disk.folders(runs) == []


def test_what_is_no_bundle_is_not_deleted(disk, runs):
    disk.mkdir(runs)
    disk.mkdir(place(runs))
    write(disk, place(runs), "notes.txt")
    for path in (place(runs), place(runs, "nothing")):
        for expected_id in (None, "0" * 32):
            with pytest.raises((CheckpointNotFoundError, CheckpointReplacedError)):
                bundle.delete(disk, path, expected_id=expected_id)
    assert files(disk, place(runs)) == {"notes.txt": b"mine"}


def test_a_damaged_bundle_can_be_deleted(disk, runs):
    save(disk, runs, SMALL)
    with disk.open_directory(place(runs)) as inside:
        inside.unlink("checkpoint.json")
    bundle.delete(disk, place(runs))
    assert disk.folders(runs) == []


# Copying by hand


def test_a_copy_by_any_tool_is_complete_and_a_manual_removal_harms_no_other(tmp_path):
    runs, sharing = str(tmp_path / "runs"), bundle.Sharing()
    state = {"frozen": noise(200_000, 0)}
    for number in (1, 2):
        save(DISK, runs, state | {"n": number}, name=f"s{number}", seq=number, sharing=sharing)
    shutil.copytree(place(runs, "s2"), tmp_path / "renamed.ckpt.mml")
    shutil.rmtree(place(runs, "s1"))
    assert load(DISK, place(runs, "s2"))["n"] == 2
    shutil.rmtree(runs)
    assert content(DISK, str(tmp_path / "renamed.ckpt.mml")) == content_of(state | {"n": 2})
    assert all(links == 1 for _, links in inodes(DISK, str(tmp_path / "renamed.ckpt.mml")))


# Leftovers


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def unfinished() -> tuple[MemoryDisk, Clock]:
    """A save under a new name that died while it held its lock."""
    disk = MemoryDisk(clock := Clock())
    with pytest.raises(Crash):
        save(CrashingDisk(disk, 8), "runs", SMALL)
    return disk, clock


def test_an_unfinished_save_is_a_leftover_after_an_hour_by_the_disks_clock(unfinished):
    disk, clock = unfinished
    assert bundle.sweep(disk, "runs", clock.now_s + GRACE_S) == []
    [path] = bundle.sweep(disk, "runs", clock.now_s + GRACE_S + 1)
    assert path.endswith(".part")
    assert disk.folders("runs") == []


def test_what_a_live_process_holds_is_never_a_leftover(unfinished):
    disk, clock = unfinished
    [part] = disk.folders("runs")
    with disk.open_directory(f"runs/{part}") as inside:
        inside.unlink("owner")
        held = inside.hold("owner")
    assert bundle.sweep(disk, "runs", clock.now_s + 100 * GRACE_S) == []
    held.release()
    assert len(bundle.sweep(disk, "runs", clock.now_s + 100 * GRACE_S)) == 1


def test_without_a_lock_only_a_day_tells(unfinished):
    disk, clock = unfinished
    [part] = disk.folders("runs")
    with disk.open_directory(f"runs/{part}") as inside:
        inside.unlink("owner")
    assert bundle.sweep(disk, "runs", clock.now_s + GRACE_WITHOUT_LOCKS_S) == []
    assert len(bundle.sweep(disk, "runs", clock.now_s + GRACE_WITHOUT_LOCKS_S + 1)) == 1


def test_a_save_that_has_only_just_made_its_directory_is_no_leftover():
    disk = MemoryDisk(clock := Clock())
    with pytest.raises(Crash):
        save(CrashingDisk(disk, 2), "runs", SMALL)
    [part] = disk.folders("runs")
    with disk.open_directory(f"runs/{part}") as inside:
        assert inside.names() == []
    assert bundle.sweep(disk, "runs", clock.now_s + GRACE_WITHOUT_LOCKS_S) == []
    assert len(bundle.sweep(disk, "runs", clock.now_s + GRACE_WITHOUT_LOCKS_S + 1)) == 1


def test_files_of_strangers_in_a_leftover_stay(unfinished):
    disk, clock = unfinished
    [part] = disk.folders("runs")
    write(disk, f"runs/{part}", "notes.txt")
    assert bundle.sweep(disk, "runs", clock.now_s + 10 * GRACE_WITHOUT_LOCKS_S) == []
    assert files(disk, f"runs/{part}") == {"notes.txt": b"mine"}


def test_an_overwrite_removes_what_a_dead_overwriter_left_once_it_is_old():
    disk = MemoryDisk(clock := Clock())
    save(disk, "runs", SMALL)
    with pytest.raises(Crash):
        save(CrashingDisk(disk, 8), "runs", SMALL)
    left = {name for name, _ in inodes(disk, place("runs"))}
    save(disk, "runs", SMALL)
    assert len(left & {name for name, _ in inodes(disk, place("runs"))}) > 1
    clock.now_s += GRACE_S + 1
    save(disk, "runs", SMALL)
    assert len(files(disk, place("runs"))) == 3


def test_a_lock_on_a_real_disk_ends_with_its_process(tmp_path):
    script = (
        "import sys; from holdfast.storage import LocalDisk\n"
        "held = LocalDisk().open_directory(sys.argv[1]).hold('owner')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with (
        DISK.open_directory(str(tmp_path)) as inside,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert inside.is_held("owner") is True
        other.kill()
        other.wait()
        assert inside.is_held("owner") is False


def test_looking_whether_a_lock_is_held_does_not_drop_it(tmp_path):
    with DISK.open_directory(str(tmp_path)) as inside:
        held = inside.hold("owner")
        assert inside.is_held("owner") is True
        with open("/proc/locks") as locks:
            inode = f":{os.stat(tmp_path / 'owner').st_ino} "
            assert any(inode in line for line in locks)
        held.release()
        assert inside.is_held("owner") is False


# Foreign things where files should be


@pytest.mark.parametrize("thing", ["symlink", "fifo", "directory", "socket"])
@pytest.mark.parametrize("which", ["checkpoint.json", "tree", "pack"])
def test_only_regular_files_of_the_bundle_itself_are_read(tmp_path, thing, which):
    record = save(DISK, str(tmp_path), SMALL)
    name = {"tree": record.tree.name, "pack": record.packs[0].name}.get(which, which)
    file = Path(place(str(tmp_path))) / name
    moved = file.rename(tmp_path / "moved")
    match thing:
        case "symlink":
            file.symlink_to(moved)
        case "fifo":
            os.mkfifo(file)
        case "directory":
            file.mkdir()
        case "socket":
            os.mknod(file, 0o140600)
    with pytest.raises(CheckpointDamagedError, match=r"cannot be opened|instead of"):
        bundle.Bundle(DISK, place(str(tmp_path)))


def test_a_working_directory_that_is_gone_is_an_error_of_ours(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SaveError, match=errno.errorcode[errno.ENOENT]):
        save(DISK, "runs", SMALL)
    monkeypatch.chdir(tmp_path)
