"""What a bundle on a real disk promises: sharing, independence, detection, and plain files."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import holdfast
from holdfast import bundle, state
from holdfast.errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    DamagedError,
    FormatVersionError,
    PieceDamagedError,
)
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.storage import LocalDisk, MemoryDisk

MB = 1 << 20


class Saver:
    """Saves states one after another as one run does."""

    def __init__(self, directory: Path, disk: Any = None) -> None:
        self.directory, self.disk = str(directory), disk or LocalDisk()
        self.sharing = bundle.Sharing()
        self.seq = 0

    def save(self, value: Any, name: str | None = None) -> CheckpointRecord:
        self.seq += 1
        draft = CheckpointRecord(
            id="0" * 32,
            name=name or f"save{self.seq}",
            kind="train",
            moment=Moment(run="r", hook="epoch_end"),
            seq=self.seq,
            created="2026-01-01T00:00:00.000000+00:00",
            tree=FileEntry("", 0, ""),
            packs=(),
        )
        return bundle.save(self.disk, self.directory, draft, state.capture(value), self.sharing)

    def path(self, name: str) -> str:
        return bundle.bundle_path(self.directory, name)


def noise(size_bytes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size_bytes // 4, dtype="f4")


def disk_bytes(directory: Path) -> int:
    """Bytes of all files below, each inode once."""
    found = {}
    for file in directory.rglob("*"):
        if file.is_file():
            about = file.lstat()
            found[about.st_dev, about.st_ino] = about.st_size
    return sum(found.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen", "changing", "limit"),
    [
        (40 * MB, 5 * MB, 5.5 * MB),
        (10 * MB, 30 * MB, 33 * MB),
        pytest.param(400 * MB, 50 * MB, 55 * MB, marks=pytest.mark.slow),
        pytest.param(100 * MB, 300 * MB, 330 * MB, marks=pytest.mark.slow),
    ],
)
def test_what_did_not_change_costs_no_disk_from_the_third_save_on(tmp_path, frozen, changing, limit):
    saver, still = Saver(tmp_path), noise(frozen, 0)
    sizes = []
    for seed in range(1, 6):
        saver.save({"frozen": still, "changing": noise(changing, seed)})
        sizes.append(disk_bytes(tmp_path))
    added = np.diff(sizes)
    assert (added[1:] < limit).all(), added / MB
    shutil.rmtree(saver.path("save1"))
    for name in ("save2", "save3", "save4", "save5"):
        with holdfast.open(saver.path(name)) as checkpoint:
            assert checkpoint.verify(deep=True) == []


@pytest.mark.medium
@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=12))
def test_the_files_of_a_bundle_never_exceed_twice_its_live_bytes(versions):
    """Each array takes one of four contents at each save, so packs die piece by piece."""
    disk = MemoryDisk()
    saver = Saver(Path("runs"), disk)
    contents = {(slot, kind): noise(128 << 10, 10 * slot + kind) for slot in range(6) for kind in range(4)}
    for version in versions:
        record = saver.save({str(slot): contents[slot, kind] for slot, kind in enumerate(version)})
        headers = 4096 * (len(record.packs) + 1)
        assert sum(pack.size for pack in record.packs) <= 2 * record.bytes_captured + headers
        with bundle.Bundle(disk, saver.path(record.name)) as opened:
            assert list(opened.problems(deep=True)) == []


@pytest.mark.medium
def test_a_pack_is_written_again_after_32_links_so_that_no_sector_can_take_all(tmp_path):
    saver, still = Saver(tmp_path), noise(MB, 0)
    packs = [saver.save({"frozen": still}).packs[0].name for _ in range(40)]
    copies = [packs.count(pack) for pack in dict.fromkeys(packs)]
    assert copies == [33, 7]


def test_a_plain_copy_is_complete_and_does_not_need_the_original(tmp_path):
    saver, still = Saver(tmp_path / "runs"), noise(MB, 0)
    for seed in range(3):
        saver.save({"frozen": still, "changing": noise(MB, seed)})
    shutil.copytree(saver.path("save3"), tmp_path / "copy.ckpt.mml")
    shutil.rmtree(tmp_path / "runs")
    with holdfast.open(tmp_path / "copy.ckpt.mml") as checkpoint:
        assert checkpoint.verify(deep=True) == []
        assert np.array_equal(checkpoint["frozen"], still)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOENT])
def test_where_linking_fails_the_bytes_are_written(tmp_path, code, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    saver, still = Saver(tmp_path), noise(MB, 0)
    saver.save({"frozen": still})
    monkeypatch.setattr(os, "link", refuse)
    record = saver.save({"frozen": still})
    assert record.bytes_shared == 0
    with holdfast.open(saver.path("save2")) as checkpoint:
        assert checkpoint.verify(deep=True) == []


def test_safetensors_alone_opens_any_pack_and_every_piece_is_aligned(tmp_path):
    value = {
        "odd": np.arange(7, dtype="i1"),
        "half": np.arange(5, dtype="f2"),
        "double": np.arange(3.0),
        "complex": np.ones(3, "c16"),
        "page": np.zeros(1024, "f4"),
        "large": noise(9 * MB, 1).reshape(-1, 64),
        "long row": noise(9 * MB, 2).reshape(1, -1),
        "records": np.zeros(5, [("a", "i1"), ("b", "f8")]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    saver = Saver(tmp_path)
    record = saver.save(value)
    [pack] = record.packs
    file = Path(saver.path("save1")) / pack.name
    with safe_open(str(file), "np") as opened:
        assert np.array_equal(opened.get_tensor("page"), value["page"])
        assert np.array_equal(opened.get_tensor("fortran"), value["fortran"].T)
        rows = sorted((key for key in opened.keys() if key.startswith("large")), key=_first_row)  # noqa: SIM118
        assert np.array_equal(np.concatenate([opened.get_tensor(key) for key in rows]), value["large"])
    data = file.read_bytes()
    assert (8 + int.from_bytes(data[:8], "little")) % 4096 == 0
    with bundle.Bundle(LocalDisk(), saver.path("save1")) as stored:
        for leaf in holdfast.Checkpoint(stored).leaves():
            for piece in stored.stored.pieces[leaf.path]:
                start, _ = stored._packs.spans(piece.file)[piece.key]
                item = value[leaf.path].dtype.itemsize
                assert start % (item & -item) == 0, leaf.path


def _first_row(key: str) -> int:
    return int(key.partition("[")[2].partition(":")[0] or 0)


def damaged_copies(original: Path, directory: Path) -> Any:
    """The bundle with one bit flipped in each of many places, or a file cut or gone: (what, path)."""
    rng = np.random.default_rng(0)
    for file in sorted(original.iterdir()):
        size = file.stat().st_size
        for place in {
            0,
            3,
            8,
            60,
            size // 3,
            size // 2,
            size - 100,
            size - 1,
            *rng.integers(0, size, 12).tolist(),
        }:
            copy = directory / "flipped.ckpt.mml"
            shutil.copytree(original, copy)
            data = bytearray((copy / file.name).read_bytes())
            data[place] ^= 1 << int(rng.integers(8))
            (copy / file.name).write_bytes(data)
            yield f"bit at {place} of {file.name}", copy
            shutil.rmtree(copy)
        for length in {0, 1, size // 2, size - 1}:
            copy = directory / "cut.ckpt.mml"
            shutil.copytree(original, copy)
            os.truncate(copy / file.name, length)
            yield f"{file.name} cut to {length}", copy
            shutil.rmtree(copy)
        copy = directory / "gone.ckpt.mml"
        shutil.copytree(original, copy)
        (copy / file.name).unlink()
        yield f"{file.name} gone", copy
        shutil.rmtree(copy)


@pytest.mark.parametrize("how", ["read", "checked", "checked deeply"])
def test_of_small_arrays_that_are_read_together_the_damaged_one_is_named(tmp_path, how):
    saver = Saver(tmp_path / "runs")
    record = saver.save({f"a{n}": np.arange(n, n + 10.0) for n in range(300)} | {"again": np.arange(7, 17.0)})
    file = Path(saver.path("save1")) / record.packs[0].name
    data = bytearray(file.read_bytes())
    data[data.index(np.arange(7, 17.0).tobytes()) + 3] ^= 1
    file.write_bytes(data)
    with bundle.Bundle(LocalDisk(), saver.path("save1")) as opened:
        wanted = [(leaf, np.empty(leaf.size_bytes, np.uint8)) for leaf in opened.stored.leaves]
        if how == "read":
            with pytest.raises(PieceDamagedError, match="'a7'"):
                opened.read_all(wanted)
            good = [each for each in wanted if each[0].path not in ("a7", "again")]
            opened.read_all(good)
            assert all(
                (out.view(float) == np.arange(int(leaf.path[1:]), int(leaf.path[1:]) + 10)).all()
                for leaf, out in good
            )
        else:
            found = opened.problems(deep=how == "checked deeply")
            assert [each.leaf for each in found] == ["a7", "again"]


def test_no_flipped_bit_cut_or_missing_file_goes_unnoticed(tmp_path):
    saver = Saver(tmp_path / "runs")
    value = {"weights": noise(200 << 10, 1), "small": np.arange(10.0), "step": 3}
    saver.save(value)
    tried = 0
    for what, path in damaged_copies(Path(saver.path("save1")), tmp_path):
        tried += 1
        try:
            with holdfast.open(path) as checkpoint:
                problems = checkpoint.verify()
        except (DamagedError, CheckpointNotFoundError) as err:
            problems = [err]
        assert problems, what
    assert tried > 60


def test_damage_to_dead_bytes_of_a_shared_pack_is_harmless(tmp_path):
    saver, still = Saver(tmp_path), noise(MB, 0)
    saver.save({"frozen": still, "changing": noise(MB // 2, 1)})
    record = saver.save({"frozen": still, "changing": noise(MB // 2, 2)})
    assert record.bytes_shared == still.nbytes
    [name] = {pack.name for pack in record.packs} & set(os.listdir(saver.path("save1")))
    shared = Path(saver.path("save2")) / name
    data = bytearray(shared.read_bytes())
    data[-1] ^= 1  # of save1's changing array, which save2 does not have
    shared.write_bytes(data)
    with holdfast.open(saver.path("save2")) as checkpoint:
        assert checkpoint.verify(deep=True) == []
    with holdfast.open(saver.path("save1")) as checkpoint:
        assert [problem.leaf for problem in checkpoint.verify()] == ["changing"]


def test_a_damaged_bundle_in_the_way_of_a_save_is_renamed_and_never_deleted(tmp_path, caplog):
    saver = Saver(tmp_path)
    saver.save({"x": np.arange(3)}, "best")
    record = Path(saver.path("best")) / "checkpoint.json"
    record.write_bytes(record.read_bytes()[:-10])
    saver.save({"x": np.arange(4)}, "best")
    with holdfast.open(saver.path("best")) as checkpoint:
        assert checkpoint["x"].shape == (4,)
    aside = [entry for entry in os.listdir(tmp_path) if ".damaged-" in entry]
    assert len(aside) == 1
    assert ".damaged-" in caplog.text


def test_a_bundle_of_a_newer_format_is_refused_by_name_and_left_alone(tmp_path):
    saver = Saver(tmp_path)
    saver.save({"x": 1}, "best")
    record = Path(saver.path("best")) / "checkpoint.json"
    body = record.read_bytes()[: record.read_bytes().rindex(b',"digest":"')].replace(
        b'"format":1', b'"format":3', 1
    )
    newer = body + b',"digest":"' + blake3(body).hexdigest().encode() + b'"}'
    record.write_bytes(newer)
    with pytest.raises(FormatVersionError, match="format version 3"):
        holdfast.open(saver.path("best"))
    with pytest.raises(FormatVersionError):
        saver.save({"x": 2}, "best")
    assert record.read_bytes() == newer


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_nothing_but_regular_files_is_read(tmp_path, kind):
    saver = Saver(tmp_path / "runs")
    record = saver.save({"x": np.arange(3)}, "best")
    pack = Path(saver.path("best")) / record.packs[0].name
    outside = tmp_path / "outside"
    pack.rename(outside)
    if kind == "link":
        pack.symlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(pack)
    else:
        pack.mkdir()
    with pytest.raises(CheckpointDamagedError, match="cannot be opened"):
        holdfast.open(saver.path("best"))
