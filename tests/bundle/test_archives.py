"""An archive is the same checkpoint, complete in itself; compressed bytes can do no harm that plain ones cannot."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3

import holdfast
from holdfast import bundle
from holdfast.bundle._format.codec import PLANES_ZSTD
from holdfast.bundle._format.record import decode_record, encode_record
from holdfast.bundle._format.tree import decode_tree
from holdfast.errors import CheckpointDamagedError, CheckpointExistsError, PieceDamagedError, UsageError
from holdfast.records import leaves
from holdfast.state import restore
from holdfast.storage import MemoryDisk
from tests.support.bundle_cases import content, content_of, files, noise, place, save

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((1500, 1001))  # three pieces
STATE = {
    "weights": WEIGHTS,
    "tied": WEIGHTS,
    "same bytes": WEIGHTS.copy(),
    "same bytes, other items": WEIGHTS.view("i8"),
    "fortran": np.asfortranarray(RNG.standard_normal((300, 70))),
    "noise": noise(100_000, 1),
    "half": RNG.standard_normal(9000).astype("f2"),
    "complex": RNG.standard_normal(9000).astype("c16"),
    "records": np.zeros(3000, [("a", "<i4"), ("b", "<f8")]),
    "texts": np.array(["ab", "c" * 20] * 500),
    "big endian": np.arange(5000, dtype=">i4"),
    "empty": np.empty((0, 3)),
    "small": np.arange(3.0),
    "step": 3,
}


@pytest.mark.medium
def test_a_plain_archive_shares_nothing_and_holds_the_same(disk, runs):
    sharing = bundle.Sharing()
    first = save(disk, runs, STATE, sharing=sharing)
    save(disk, runs, STATE | {"step": 4}, name="next", seq=2, sharing=sharing)
    listed = holdfast.archive(place(runs, "next"), f"{runs}/copies/next", compress=False, disk=disk)
    assert listed.path == place(f"{runs}/copies", "next")
    assert content(disk, listed.path) == content_of(STATE | {"step": 4})
    assert listed.record is not None
    assert listed.record.bytes_shared == 0
    assert not {pack.name for pack in first.packs} & {pack.name for pack in listed.record.packs}


def test_an_archive_keeps_the_facts_of_its_checkpoint(disk, runs):
    record = save(disk, runs, STATE, metrics={"loss": 0.5}, reason="because", durability="process")
    with holdfast.open(place(runs), disk=disk) as checkpoint:
        made = checkpoint.archive(f"{runs}/copy.ckpt.mml", compress=False).record
    assert made is not None
    assert made.parent == record.id != made.id
    assert made.name == "copy"
    assert made.durability == "full"
    for fact in ("kind", "moment", "seq", "created", "metrics", "reason", "bytes_captured"):
        assert getattr(made, fact) == getattr(record, fact)


def test_where_an_archive_goes_is_said_as_for_cp(disk, runs):
    save(disk, runs, {"a": 1})
    bundle.make_directories(disk, f"{runs}/folder")
    for to, wanted in (
        ("folder", "folder/best"),
        ("folder/", "folder/best"),
        ("fresh/", "fresh/best"),
        ("new", "new"),
        ("b.ckpt.mml", "b"),
    ):
        made = holdfast.archive(place(runs), f"{runs}/{to}", compress=False, disk=disk, overwrite=True)
        assert made.path == place(runs, wanted)
    with pytest.raises(CheckpointExistsError):
        holdfast.archive(place(runs), f"{runs}/new", compress=False, disk=disk)
    for bad in (f"{runs}/.ckpt.mml", f"{runs}/.hidden", f"{runs}/a:b"):
        with pytest.raises(UsageError):
            holdfast.archive(place(runs), bad, compress=False, disk=disk)


def test_an_archive_of_a_damaged_checkpoint_is_refused_and_nothing_is_left(disk, runs):
    record = save(disk, runs, {"a": np.arange(1000.0)})
    data = bytearray(files(disk, place(runs))[record.packs[0].name])
    data[-1] ^= 1
    with disk.open_directory(place(runs)) as inside:
        inside.unlink(record.packs[0].name)
        inside.create(record.packs[0].name).write(data)
    with pytest.raises(PieceDamagedError, match="'a' is damaged"):
        holdfast.archive(place(runs), f"{runs}/copies/copy", compress=False, disk=disk)
    assert disk.folders(f"{runs}/copies") == []


def test_without_zstandard_compressing_and_reading_say_what_to_install(monkeypatch):
    from holdfast.bundle._format import codec as _codec

    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    _codec._zstandard.cache_clear()
    for name in ("compressor", "decompressor"):
        _codec._kept.__dict__.pop(name, None)
    save(disk := MemoryDisk(), "runs", STATE)
    with pytest.raises(UsageError, match=r"pip install 'holdfast\[zstd\]'"):
        holdfast.archive(place("runs"), "runs/copy", compress=True, disk=disk)
    assert disk.folders("runs") == ["best.ckpt.mml"]


@pytest.fixture(scope="module")
def compressed() -> tuple[MemoryDisk, bundle.Listed]:
    pytest.importorskip("zstandard")
    save(disk := MemoryDisk(), "runs", STATE)
    return disk, holdfast.archive(place("runs"), "runs/copy", compress=True, disk=disk)


@pytest.mark.medium
def test_a_compressed_archive_holds_the_same_in_fewer_bytes(compressed):
    disk, listed = compressed
    assert content(disk, listed.path) == content_of(STATE)
    assert listed.record.size_bytes < 0.9 * load_size(disk)
    with bundle.Bundle(disk, listed.path) as opened:
        kept = opened.stored.codecs
        assert {"weights", "records", "texts"} <= kept.keys()
        assert not {"noise", "small", "empty"} & kept.keys()
        live = {
            key: np.zeros_like(value) if isinstance(value, np.ndarray) else 0 for key, value in STATE.items()
        }
        live["tied"] = live["weights"]
        for verify in ("first", "streaming"):
            restore(opened, live, verify=verify)
            assert content_of(live) == content_of(STATE)
        view = opened.view(next(leaf for leaf in leaves(opened.tree) if leaf.path == "weights"))
        assert view.tobytes() == WEIGHTS.tobytes()


def load_size(disk: MemoryDisk) -> int:
    with bundle.Bundle(disk, place("runs")) as opened:
        return opened.record.size_bytes


def test_an_archive_of_an_archive_is_plain_again_if_requested(compressed):
    disk, listed = compressed
    again = holdfast.archive(listed, "runs/plain", compress=False, disk=disk, overwrite=True)
    assert content(disk, again.path) == content_of(STATE)
    with bundle.Bundle(disk, again.path) as opened:
        assert not opened.stored.codecs


def test_a_save_never_links_compressed_packs(compressed):
    disk, listed = compressed
    sharing = bundle.Sharing()
    with bundle.Bundle(disk, listed.path) as opened:
        sharing.learn(listed.path, opened.record, opened.stored)
    record = save(disk, "runs", STATE, name="after", seq=2, sharing=sharing)
    assert content(disk, place("runs", "after")) == content_of(STATE)
    assert record.bytes_shared <= noise(100_000, 1).nbytes + 9000 * 2


@pytest.mark.medium
def test_every_flipped_bit_of_a_frame_is_found(compressed):
    disk, listed = compressed
    contents = files(disk, listed.path)
    name = listed.record.packs[1].name
    data = contents[name]
    header = 8 + int.from_bytes(data[:8], "little")
    for at in np.linspace(header, len(data) - 1, 60).astype(int):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(at) % 8
        with bundle.Bundle(disk_of(contents | {name: bytes(flipped)}), place("runs")) as opened:
            assert [*opened.problems()], f"byte {at}"


def test_the_damage_of_a_frame_is_named_for_each_array_that_it_serves(compressed):
    disk, listed = compressed
    contents = files(disk, listed.path)
    name = listed.record.packs[1].name
    with bundle.Bundle(disk, listed.path) as opened:
        piece = opened.stored.pieces["weights"][0]
        start, _ = opened._packs.spans(name)[piece.key]
    broken = contents[name][: start + 100] + b"rot" + contents[name][start + 103 :]
    with bundle.Bundle(disk_of(contents | {name: broken}), place("runs")) as opened:
        found = {problem.leaf for problem in opened.problems()}
    assert found == {"weights", "same bytes", "same bytes, other items"}


def disk_of(contents: dict[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    bundle.make_directories(disk, place("runs"))
    with disk.open_directory(place("runs")) as inside:
        for name, data in contents.items():
            inside.create(name).write(data)
    return disk


def forged(frame: bytes, *, shape: list[int], codec: object = PLANES_ZSTD) -> MemoryDisk:
    """A bundle with sound digests all around a frame of an attacker's choice."""
    save(disk := MemoryDisk(), "runs", {"a": np.frombuffer(frame, np.uint8)})
    contents = files(disk, place("runs"))
    record = decode_record(contents["checkpoint.json"], "x")
    tree = json.loads(contents[record.tree.name])
    tree["tree"]["map"]["a"]["array"] |= {"shape": shape, "codec": codec}
    data = json.dumps(tree).encode()
    entry = replace(record.tree, size=len(data), digest=blake3(data).hexdigest())
    new = {record.tree.name: data, "checkpoint.json": encode_record(replace(record, tree=entry))}
    return disk_of(contents | new)


def frames() -> dict[str, tuple[bytes, int]]:
    """Names, frames, and how many bytes the tree says that they hold."""
    zstandard = pytest.importorskip("zstandard")
    compress = zstandard.ZstdCompressor(write_content_size=True).compress
    sizeless = zstandard.ZstdCompressor(write_content_size=False).compress
    good = compress(bytes(5000))
    return {
        "a bomb": (compress(bytes(64 << 20)), 5000),
        "a bomb that hides its size": (sizeless(bytes(64 << 20)), 5000),
        "too short": (compress(bytes(4999)), 5000),
        "trailing garbage": (good + b"x", 5000),
        "two frames": (good + good, 5000),
        "cut": (good[:-3], 5000),
        "no frame": (b"x" * 500, 5000),
        "a skippable frame": (b"\x50\x2a\x4d\x18" + (5000).to_bytes(4, "little") + bytes(5000), 5000),
        "a frame that says more": (good[:5] + b"\xff" + good[6:], 5000),
        "nothing but a magic number": (b"\x28\xb5\x2f\xfd", 5000),
    }


@pytest.mark.parametrize(
    "name",
    ["a bomb", "a bomb that hides its size", "too short", "trailing garbage", "two frames", "cut", "no frame",
     "a skippable frame", "a frame that says more", "nothing but a magic number"],
)  # fmt: skip
def test_a_hostile_frame_is_an_error_of_ours_and_takes_no_memory(name):
    frame, size = frames()[name]
    with bundle.Bundle(forged(frame, shape=[size]), place("runs")) as opened:
        tracemalloc.start()
        try:
            with pytest.raises(PieceDamagedError, match="'a' is damaged"):
                opened.check([*leaves(opened.tree)])
            [problem] = opened.problems(deep=True)
            assert "unreadable" in problem.found
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()


def test_a_compressed_array_must_have_frames_of_a_plausible_size_and_a_known_codec():
    for shape, codec, why in (
        ([10], PLANES_ZSTD, "no piece 'a' of its size"),
        ([5 << 20], PLANES_ZSTD, "does not have the pieces of its shape"),
        ([100_000], "gzip", "unknown way"),
        ([100_000], None, "malformed"),
    ):
        with (
            bundle.Bundle(forged(b"x" * 99_000, shape=shape, codec=codec), place("runs")) as opened,
            pytest.raises(CheckpointDamagedError, match=why),
        ):
            _ = opened.tree


def test_a_tree_that_is_no_archive_says_nothing_of_codecs(disk, runs):
    record = save(disk, runs, STATE)
    data = files(disk, place(runs))[record.tree.name]
    assert b"codec" not in data
    assert not decode_tree(data, "x").codecs
