"""No wrong byte is ever handed out: damage is found wherever it is, and named; elsewhere it does no harm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from bundle_cases import content_of, files, noise, place, save

from holdfast import bundle
from holdfast.errors import CheckpointDamagedError, CheckpointNotFoundError, DamagedError, PieceDamagedError
from holdfast.records import CheckpointRecord, leaves
from holdfast.state import digest
from holdfast.storage import MemoryDisk

STATE = {"weight": noise(3000, 1).reshape(3, -1), "bias": np.arange(5.0), "step": 3, "note": "é"}


def bundle_of(contents: dict[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    bundle.make_directories(disk, place("runs"))
    with disk.open_directory(place("runs")) as inside:
        for name, data in contents.items():
            inside.create(name).write(data)
    return disk


@pytest.fixture(scope="module")
def saved() -> tuple[CheckpointRecord, dict[str, bytes]]:
    record = save(disk := MemoryDisk(), "runs", STATE)
    return record, files(disk, place("runs"))


def found_wrong(contents: dict[str, bytes]) -> str:
    """What is said of a bundle with these files; empty if it is sound, and then its state must be right."""
    try:
        with bundle.Bundle(bundle_of(contents), place("runs")) as opened:
            for problem in opened.problems():
                return str(problem)
            assert digest(opened) == content_of(STATE)
    except (DamagedError, CheckpointNotFoundError) as err:
        return str(err)
    return ""


def flips(contents: dict[str, bytes], stride: int) -> Iterator[tuple[str, int, dict[str, bytes]]]:
    """One bit flipped, a different one in each byte: (file, place, contents)."""
    for name, data in contents.items():
        for at in range(0, len(data), stride):
            flipped = bytearray(data)
            flipped[at] ^= 1 << (at // stride) % 8
            yield name, at, contents | {name: bytes(flipped)}


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_found(saved, stride):
    for name, at, damaged in flips(saved[1], stride):
        assert found_wrong(damaged), f"bit in byte {at} of {name}"


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_cut_at_any_length_and_any_excess_is_found(saved, stride):
    for name, data in saved[1].items():
        for length in range(0, len(data), stride):
            assert found_wrong(saved[1] | {name: data[:length]}), f"{name} cut to {length}"
        for more in (b"\0", b"\n", b" ", data):
            assert found_wrong(saved[1] | {name: data + more})


def test_a_missing_file_is_found_and_named(saved):
    _, contents = saved
    for name in contents:
        said = found_wrong({other: data for other, data in contents.items() if other != name})
        assert name in said or name == "checkpoint.json"
        assert said


def test_blocks_of_zeros_and_exchanged_files_are_found(saved):
    record, contents = saved
    other = save(disk := MemoryDisk(), "runs", STATE | {"weight": noise(3000, 2).reshape(3, -1)})
    others = files(disk, place("runs"))
    pack, tree = record.packs[0].name, record.tree.name
    data = contents[pack]
    assert found_wrong(contents | {pack: bytes(4096) + data[4096:]})
    assert found_wrong(contents | {pack: data[:4096] + bytes(len(data) - 4096)})
    assert found_wrong(contents | {pack: others[other.packs[0].name]})
    assert found_wrong(contents | {tree: others[other.tree.name]})
    assert found_wrong(contents | {"checkpoint.json": others["checkpoint.json"]})


def test_damage_is_named_by_checkpoint_leaf_and_file(saved):
    record, contents = saved
    pack = record.packs[0].name
    data = bytearray(contents[pack])
    at = data.index(STATE["bias"].tobytes())
    data[at] ^= 1
    with bundle.Bundle(bundle_of(contents | {pack: bytes(data)}), place("runs")) as opened:
        [problem] = opened.problems()
        assert (problem.place, problem.leaf, problem.file) == (place("runs"), "bias", pack)
        sound = {leaf.path: leaf for leaf in leaves(opened.tree)}
        opened.check([sound["weight"]])
        with pytest.raises(PieceDamagedError, match="'bias' is damaged"):
            opened.check([sound["bias"]])
        with pytest.raises(PieceDamagedError):
            opened.read_into(sound["bias"], np.empty(sound["bias"].size_bytes, np.uint8))


def test_a_header_that_was_changed_is_named_before_any_of_its_pieces_is_read(saved):
    record, contents = saved
    pack = record.packs[0].name
    forged = contents[pack].replace(b'"bias"', b'"bigs"')
    with (
        bundle.Bundle(bundle_of(contents | {pack: forged}), place("runs")) as opened,
        pytest.raises(CheckpointDamagedError, match=rf"{pack}: its header has another digest"),
    ):
        _ = opened.tree


def test_dead_bytes_of_a_linked_pack_may_be_anything():
    disk, sharing = MemoryDisk(), bundle.Sharing()
    live, dead = noise(128 << 10, 1), noise(64 << 10, 2)
    save(disk, "runs", {"live": live, "dead": dead}, name="old", sharing=sharing)
    record = save(disk, "runs", {"live": live}, seq=2, sharing=sharing)
    assert record.bytes_shared == live.nbytes
    contents = files(disk, place("runs"))
    [pack] = (name for name in contents if name.endswith(".safetensors"))
    at = contents[pack].index(dead.tobytes())
    damaged = contents[pack][:at] + bytes(dead.nbytes) + contents[pack][at + dead.nbytes :]
    with bundle.Bundle(bundle_of(contents | {pack: damaged}), place("runs")) as opened:
        assert [*opened.problems(deep=True)] == []
        assert digest(opened) == content_of({"live": live})
    contents = files(disk, place("runs", "old"))
    with bundle.Bundle(bundle_of(contents | {pack: damaged}), place("runs")) as opened:
        assert [problem.leaf for problem in opened.problems()] == ["dead"]
