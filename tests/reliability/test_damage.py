"""No wrong byte is ever handed out: damage is found wherever it is, and named; elsewhere it does no harm (P4, P6)."""

from __future__ import annotations

import errno
import logging

import numpy as np
import pytest

from holdfast import bundle, state
from holdfast.errors import CheckpointDamagedError, DamagedError, PieceDamagedError
from holdfast.records import CheckpointRecord, leaves
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import FaultyDisk
from tests.support.bundle_cases import content_of, noise, place
from tests.support.reliability import campaigns_damage
from tests.support.reliability.forging import (
    RECORD,
    Files,
    files_of,
    files_of_state,
    flipped,
    put,
    save,
    told,
)
from tests.support.small_runs import digest_of, experiment, graph, on_disk, train

STATE = campaigns_damage.STATE


def bundle_of(files: Files) -> MemoryDisk:
    put(disk := MemoryDisk(), place("runs"), files)
    return disk


def found_wrong(files: Files) -> str:
    return told(files, content_of(STATE))


@pytest.fixture(scope="module")
def saved() -> tuple[CheckpointRecord, Files]:
    record = save(disk := MemoryDisk(), "runs", STATE)
    return record, files_of(disk, place("runs"))


def test_two_thousand_flipped_bits_in_every_region_are_found_or_do_no_harm():
    flips = campaigns_damage.flip_bits(seed=0, number=2000)
    assert flips.keys() == {*campaigns_damage.REGIONS}
    assert min(flips.values()) >= 250


@pytest.mark.slow
def test_a_flipped_bit_in_any_byte_is_found(saved):
    for name, data in saved[1].items():
        for at in range(len(data)):
            assert found_wrong(saved[1] | {name: flipped(data, at, at % 8)}), (
                f"bit {at % 8} of byte {at} of {name}"
            )


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_cut_at_any_length_and_any_excess_is_found(saved, stride):
    for name, data in saved[1].items():
        for length in range(0, len(data), stride):
            assert found_wrong(saved[1] | {name: data[:length]}), f"{name} cut to {length}"
        for more in (b"\0", b"\n", b" ", data):
            assert found_wrong(saved[1] | {name: data + more})


def test_there_are_at_least_five_thousand_cuts(saved):
    assert sum(map(len, saved[1].values())) >= 5000


def test_a_tail_of_zeros_is_found(saved):
    for name, data in saved[1].items():
        for kept in range(0, len(data), 16):
            if data[kept:].strip(b"\0"):
                assert found_wrong(saved[1] | {name: data[:kept] + bytes(len(data) - kept)}), (name, kept)


def test_a_missing_file_is_found_and_named(saved):
    _, contents = saved
    for name in contents:
        said = found_wrong({other: data for other, data in contents.items() if other != name})
        assert name in said or name == "checkpoint.json"
        assert said


BLOCK = 4096
BLOCKS = {"one": noise(5 * BLOCK, 1), "two": noise(5 * BLOCK, 2), "small": np.arange(100)}


def test_a_block_of_zeros_and_blocks_exchanged_are_found():
    """What a disk does when it is wrong: whole sectors."""
    files, content = files_of_state(BLOCKS), content_of(BLOCKS)
    other = files_of_state({**BLOCKS, "one": noise(5 * BLOCK, 3)})
    blocks = [(name, at) for name, data in files.items() for at in range(0, len(data), BLOCK)]
    foreign = [data[at : at + BLOCK] for data in other.values() for at in range(0, len(data), BLOCK)]
    for name, at in blocks:
        data = files[name]
        for block in (
            bytes(BLOCK),
            *(files[other][there : there + BLOCK] for other, there in blocks),
            *foreign,
        ):
            changed = data[:at] + block + data[at + BLOCK :]
            if changed != data:
                assert told(files | {name: changed}, content), f"block {at // BLOCK} of {name}"
    for name, at in blocks:
        for other_name, there in blocks:
            one, two = files[name][at : at + BLOCK], files[other_name][there : there + BLOCK]
            if name != other_name and one != two:
                swapped = {
                    name: files[name][:at] + two + files[name][at + BLOCK :],
                    other_name: files[other_name][:there] + one + files[other_name][there + BLOCK :],
                }
                assert told(files | swapped, content)


def test_exchanged_files_are_found(saved):
    record, contents = saved
    other = save(disk := MemoryDisk(), "runs", STATE | {"weight": noise(3000, 2).reshape(3, -1)})
    others = files_of(disk, place("runs"))
    pack, tree = record.packs[0].name, record.tree.name
    assert found_wrong(contents | {pack: others[other.packs[0].name]})
    assert found_wrong(contents | {tree: others[other.tree.name]})
    assert found_wrong(contents | {RECORD: others[RECORD]})
    assert found_wrong(contents | {pack: contents[tree], tree: contents[pack]})


def test_two_packs_of_one_checkpoint_exchanged_are_found():
    disk, sharing = MemoryDisk(), bundle.Sharing()
    frozen = noise(128 << 10, 1)
    save(disk, "runs", {"frozen": frozen}, name="first", sharing=sharing)
    values = {"frozen": frozen, "new": noise(128 << 10, 2)}
    save(disk, "runs", values, seq=2, sharing=sharing)
    files = files_of(disk, place("runs"))
    one, two = (name for name in files if name.endswith(".safetensors"))
    assert not told(files, content_of(values))
    assert told(files | {one: files[two], two: files[one]}, content_of(values))


def test_an_old_record_over_the_new_is_found():
    """As a restored backup of one file, or a lost write, would leave it."""
    disk = MemoryDisk()
    save(disk, "runs", STATE)
    old = files_of(disk, place("runs"))
    values = STATE | {"step": 4}
    save(disk, "runs", values, seq=2)
    new = files_of(disk, place("runs"))
    assert not told(new, content_of(values))
    assert told(new | {RECORD: old[RECORD]}, content_of(values))


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
    contents = files_of(disk, place("runs"))
    [pack] = (name for name in contents if name.endswith(".safetensors"))
    at = contents[pack].index(dead.tobytes())
    damaged = contents[pack][:at] + bytes(dead.nbytes) + contents[pack][at + dead.nbytes :]
    with bundle.Bundle(bundle_of(contents | {pack: damaged}), place("runs")) as opened:
        assert [*opened.problems(deep=True)] == []
        assert state.digest(opened) == content_of({"live": live})
    contents = files_of(disk, place("runs", "old"))
    with bundle.Bundle(bundle_of(contents | {pack: damaged}), place("runs")) as opened:
        assert [problem.leaf for problem in opened.problems()] == ["dead"]


def test_damage_of_a_shared_pack_is_seen_in_exactly_the_checkpoints_that_hold_it(tmp_path):
    disk, sharing, directory = LocalDisk(), bundle.Sharing(), str(tmp_path / "runs")
    frozen = noise(128 << 10, 1)
    states = {
        "alone": {"own": noise(1000, 2)},
        "first": {"frozen": frozen, "own": noise(100 << 10, 3)},
        "second": {"frozen": frozen, "own": noise(100 << 10, 4)},
        "copy": {"frozen": frozen},  # by nobody who shares
    }
    for seq, (name, values) in enumerate(states.items(), 1):
        save(disk, directory, values, name=name, seq=seq, sharing=None if name == "copy" else sharing)
    pack = rot(directory, "first", "frozen")
    for name in states:
        with bundle.Bundle(disk, place(directory, name)) as opened:
            assert {(found.leaf, found.file) for found in opened.problems()} == (
                {("frozen", pack)} if name in ("first", "second") else set()
            )


def rot(directory: str, name: str, leaf: str) -> str:
    """Flip a bit of a leaf where the disk has it, for all who link it; returns the pack's name."""
    with bundle.Bundle(LocalDisk(), place(directory, name)) as opened:
        piece = opened.stored.pieces[leaf][0]
        start, _ = opened._packs.spans(piece.file)[piece.key]
    with open(f"{place(directory, name)}/{piece.file}", "r+b") as file:
        file.seek(start + 5)
        [byte] = file.read(1)
        file.seek(start + 5)
        file.write(bytes([byte ^ 16]))
    return piece.file


@pytest.mark.parametrize(
    ("second", "rotten", "leaf"),
    [("second", "second", "frozen"), ("first", "first", "frozen"), ("second", "first", "small")],
    ids=["a linked piece", "a piece linked under another name", "a piece that nobody links"],
)
def test_a_pack_that_failed_verification_is_not_linked_again(tmp_path, second, rotten, leaf):
    disk, sharing, directory = LocalDisk(), bundle.Sharing(), str(tmp_path / "runs")
    values = {"frozen": noise(128 << 10, 1), "small": noise(100, 2)}
    save(disk, directory, values, name="first", sharing=sharing)
    assert save(disk, directory, values, name=second, seq=2, sharing=sharing).bytes_shared
    rot(directory, rotten, leaf)
    with bundle.Bundle(disk, place(directory, rotten)) as opened:
        assert [found.leaf for found in opened.problems()] == [leaf]
    record = save(disk, directory, values, name="afresh", seq=3, sharing=sharing)
    assert record.bytes_shared == 0
    with bundle.Bundle(disk, place(directory, "afresh")) as opened:
        assert not [*opened.problems(deep=True)]
    assert save(disk, directory, values, name="later", seq=4, sharing=sharing).bytes_shared


def test_a_disk_that_cannot_read_is_damage_and_named_wherever_it_happens():
    """EIO at each single operation of opening and reading."""
    save(disk := MemoryDisk(), "runs", STATE)
    for at in range(1000):
        faulty = FaultyDisk(disk, at, errno.EIO)
        said = read_by(faulty)
        if faulty.failed is None:
            assert at > 5
            return
        assert place("runs") in said or faulty.failed.kind == "close", f"{faulty.failed}: {said}"


def read_by(disk) -> str:
    """Read every array; what is said if that cannot be done."""
    try:
        with bundle.Bundle(disk, place("runs")) as opened:
            for leaf in leaves(opened.tree):
                opened.read_into(leaf, np.empty(leaf.size_bytes, np.uint8))
    except DamagedError as err:
        return str(err)
    except OSError as err:
        return f"a foreign {err!r}"
    return ""


BREAKS = {
    "a record cut": lambda path: truncate(path / RECORD, -1),
    "a record emptied": lambda path: truncate(path / RECORD, 0),
    "a pack cut": lambda path: truncate(next(path.glob("*.safetensors")), -1),
    "a pack gone": lambda path: next(path.glob("*.safetensors")).unlink(),
    "a tree gone": lambda path: next(found for found in path.glob("*.json") if found.name != RECORD).unlink(),
    "a bit of the data": lambda path: rot(str(path.parent), path.name.removesuffix(".ckpt.mml"), "model_graph/body/0.weight"),
}  # fmt: skip


QUICK_BREAKS = ("a record cut", "a bit of the data")


def truncate(path, size):
    data = path.read_bytes()
    path.write_bytes(data[:size])


@pytest.mark.parametrize(
    "case",
    [
        *QUICK_BREAKS,
        *(pytest.param(case, marks=pytest.mark.slow) for case in BREAKS if case not in QUICK_BREAKS),
    ],
)
def test_a_run_resumes_from_the_newest_complete_checkpoint_and_says_which_was_skipped_and_why(
    tmp_path, case, caplog
):
    def made(seed=0):
        return experiment(tmp_path, train(n_epochs=3, checkpointing=on_disk()), graph=graph(seed=seed))

    complete = made()
    complete.run()
    newest = complete.available_checkpoints["train/train_epoch2"]
    BREAKS[case](newest)
    again = made(seed=9)
    with caplog.at_level(logging.WARNING, "holdfast"):
        again.run(resume=True)
    assert again.last_resume.path.endswith("train_epoch1.ckpt.mml")
    [aside] = again.last_resume.skipped
    assert aside.startswith(str(newest))
    assert "damaged" in aside
    assert any(str(newest) in message for message in caplog.messages)
    assert digest_of(again.graph) == digest_of(complete.graph)
    kept = [each.path for each in bundle.scan(LocalDisk(), str(tmp_path))]
    assert any(path.startswith(str(newest)) for path in kept)
