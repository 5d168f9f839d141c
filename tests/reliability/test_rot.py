"""Bytes rot on the disk: a shared pack that did is found before it is linked again, and there is another copy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.bundle import Sharing
from holdfast.bundle._sharing import MAX_LINKS, PROVEN_FOR_S
from holdfast.records import CheckpointRecord
from holdfast.runtime import ExperimentDirectory
from holdfast.state import capture
from holdfast.storage import LocalDisk, Storage
from holdfast.testing import FaultyDisk, TappedDisk
from tests.support.bundle_cases import content, content_of, draft, noise
from tests.support.reliability.rotting import History

FROZEN = noise(300_000, seed=7)


class Run:
    """A run that saves a frozen array and a step; its clock is moved by hand."""

    def __init__(self, path: Path, disk: Storage | None = None) -> None:
        self.now_s, self.step, self.path = 0.0, 0, path
        self.directory = ExperimentDirectory(path, "run-1", disk=disk, clock=lambda: self.now_s, share=True)

    def save(self, name: str = "", **facts: Any) -> CheckpointRecord:
        self.step += 1
        record = draft(name or f"s{self.step}", self.step, **facts)
        return self.directory.save(str(self.path), record, capture(self.state))

    @property
    def state(self) -> dict[str, Any]:
        return {"frozen": FROZEN, "step": self.step}

    def resume_from(self, name: str) -> None:
        listed = next(each for each in self.directory.scan() if each.record and each.record.name == name)
        with holdfast.open(listed) as checkpoint:
            assert checkpoint.verify() == []
            self.directory.resume_from(checkpoint.source)

    def is_sound(self, name: str) -> bool:
        with holdfast.open(self.bundle(name)) as checkpoint:
            return checkpoint.verify(deep=True) == []

    def bundle(self, name: str) -> str:
        return str(self.path / f"{name}.ckpt.mml")

    def pack(self, name: str) -> Path:
        """The file that holds the frozen array of a checkpoint."""
        return max(Path(self.bundle(name)).glob("*.safetensors"), key=lambda file: file.stat().st_size)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path / "runs")
    yield made
    made.directory.close()


def rot(file: Path, at: int = -1000) -> None:
    """Flip one bit, as an old disk does."""
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    with file.open("r+b") as written:
        written.write(data)


@pytest.mark.parametrize("at", [-1000, 20], ids=["its data", "its header"])
def test_rot_in_a_shared_pack_is_found_before_it_is_linked_again(run: Run, at: int, caplog):
    run.save()
    assert run.save().bytes_shared > 0
    rot(run.pack("s1"), at)
    run.now_s += PROVEN_FOR_S + 1
    assert run.save().bytes_shared == 0
    assert content(run.directory.disk, run.bundle("s3")) == content_of(run.state)
    assert "has rotted on the disk" in caplog.text
    assert run.save().bytes_shared > 0
    assert run.is_sound("s4")
    assert run.pack("s4").samefile(run.pack("s3"))
    assert not run.is_sound("s1")  # nothing is repaired behind anybody's back


def test_rot_under_a_name_that_is_saved_again_and_again_is_found_within_the_hour(run: Run):
    """Each overwrite links the pack under a new name; that must not make it look new."""
    run.save("best")
    run.save("best")
    rot(run.pack("best"))
    for _ in range(8):
        run.now_s += PROVEN_FOR_S / 7
        run.save("best")
    assert content(run.directory.disk, run.bundle("best")) == content_of(run.state)


def test_what_was_verified_at_resume_is_trusted_for_an_hour_and_then_read_again(run: Run):
    run.save()
    resumed = Run(run.path)
    resumed.step = 1
    resumed.now_s = 5000.0
    resumed.resume_from("s1")
    resumed.now_s += PROVEN_FOR_S
    assert resumed.save().bytes_shared > 0
    rot(resumed.pack("s1"))
    resumed.now_s += 1
    assert resumed.save().bytes_shared == 0
    assert resumed.is_sound("s3")


def test_a_rotten_pack_that_one_state_has_no_use_for_serves_no_later_one_either(run: Run):
    """Rot in what is live now also casts out what the pack holds of states to come."""
    other = noise(200_000, seed=8)

    def save(name: str, state: dict[str, Any]) -> CheckpointRecord:
        run.step += 1
        return run.directory.save(str(run.path), draft(name, run.step), capture(state))

    save("both", {"frozen": FROZEN, "other": other})
    rot(run.pack("both"), at=5000)  # in `frozen`, which comes first
    run.now_s += PROVEN_FOR_S + 1
    save("frozen", {"frozen": FROZEN})
    assert save("other", {"other": other}).bytes_shared == 0


class ReadingDisk(TappedDisk):
    """Counts the reads."""

    reads = 0

    def around(self, operation, do):
        self.reads += operation.kind == "read"
        return do()


def test_a_sound_pack_is_read_once_an_hour_at_most(tmp_path: Path):
    disk = ReadingDisk(LocalDisk())
    run = Run(tmp_path / "runs", disk)
    run.save()
    disk.reads, saves_with_reading = 0, 0
    for _ in range(30):
        run.now_s += PROVEN_FOR_S / 10
        before = disk.reads
        run.save()
        saves_with_reading += disk.reads > before
    assert saves_with_reading == 2
    run.directory.close()


def test_a_pack_that_cannot_be_read_any_more_is_written_again_and_the_save_succeeds(tmp_path: Path):
    run = Run(tmp_path / "runs")
    run.save()
    run.now_s += PROVEN_FOR_S + 1
    run.directory.disk = FaultyDisk(LocalDisk(), 0, errno.EIO, lasting=True, kinds=frozenset({"read"}))
    assert run.save().bytes_shared == 0
    run.directory.disk = LocalDisk()
    assert run.is_sound("s2")
    run.directory.close()


def test_two_physical_copies_of_a_long_lived_pack_overlap_in_time(run: Run):
    """With the last three checkpoints kept: a new copy is there, committed, before the old one goes."""
    kept: list[str] = []
    copies: list[int] = []
    for _ in range(2 * MAX_LINKS + 4):
        kept.append(run.save(durability="process").name)
        inodes = [run.pack(name).stat().st_ino for name in kept]  # before retention gives the oldest up
        copies += [inode for inode in dict.fromkeys(inodes) if inode not in copies]
        assert len(inodes) == 1 or inodes[-1] == copies[-1]
        if len(copies) > 1 and inodes[-1] != inodes[-2]:
            assert inodes[-2] == copies[-2], "the copy before is still there"
        if len(kept) == 3:
            run.directory.remove(run.bundle(kept.pop(0)))
    assert len(copies) == 3


@pytest.mark.parametrize("rotten", ["old", "new"])
def test_rot_in_one_copy_leaves_the_checkpoints_of_the_other_intact(run: Run, rotten: str):
    names = [run.save(durability="process").name for _ in range(MAX_LINKS + 4)]
    old, new = run.pack(names[0]), run.pack(names[-1])
    assert not old.samefile(new)
    rot(old if rotten == "old" else new)
    sound = [name for name in names if run.is_sound(name)]
    assert sound == (names[-3:] if rotten == "old" else names[:-3])


def run_histories(number: int) -> list[History]:
    histories = [History(seed) for seed in range(number)]
    for history in histories:
        history.run(60)
    return histories


@pytest.mark.medium
def test_in_any_history_what_is_saved_an_hour_after_a_bit_flipped_is_sound():
    histories = run_histories(12)
    assert sum(history.flips for history in histories) > 30
    assert sum(history.found for history in histories), "some were saved within the hour"


def test_without_reading_again_a_history_is_found_in_which_rot_spreads(monkeypatch):
    monkeypatch.setattr(Sharing, "unproven", lambda self, pieces, now_s: {})
    with pytest.raises(AssertionError, match="bits of its packs flipped"):
        run_histories(40)
