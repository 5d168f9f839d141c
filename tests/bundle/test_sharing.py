"""What did not change is linked, within bounds: waste, links, rewrites; and never when it cannot be trusted."""

from __future__ import annotations

import errno
import math
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import bundle
from holdfast.bundle._sharing import MAX_LINKED_PACKS, MAX_LINKS
from holdfast.errors import SaveError
from holdfast.records import CheckpointRecord, leaves
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import FaultyDisk, RecordingDisk
from tests.support.bundle_cases import content, content_of, inodes, load, noise, place, save

KIB = 1 << 10
PIECE = 64 * KIB  # the smallest that is shared


class Run:
    """Saves states one after the other, each under a name of its own."""

    def __init__(self, disk: Any = None, directory: str = "runs") -> None:
        self.disk, self.directory = disk or MemoryDisk(), directory
        self.sharing = bundle.Sharing()
        self.seq = 0

    def save(self, state: Any, name: str = "", **facts: Any) -> CheckpointRecord:
        self.seq += 1
        name = name or f"s{self.seq}"
        return save(self.disk, self.directory, state, name=name, seq=self.seq, sharing=self.sharing, **facts)

    def place(self, seq: int) -> str:
        return place(self.directory, f"s{seq}")


@pytest.mark.medium
@settings(max_examples=40)
@given(st.data())
def test_in_any_history_bundles_are_complete_and_waste_at_most_half(data):
    """Up to ten arrays change, come, go and return, under new names and old; old bundles vanish."""
    run = Run()
    kept: dict[str, str] = {}
    seeds = st.lists(st.none() | st.integers(0, 2), min_size=10, max_size=10)
    for _ in range(data.draw(st.integers(1, 14), "saves")):
        state = {str(n): noise(PIECE, 10 * n + s) for n, s in enumerate(data.draw(seeds)) if s is not None}
        name = data.draw(st.sampled_from(["", "best", "last"]))
        record = run.save(state, name)
        kept[record.name] = content_of(state)
        live = sum(array.nbytes for array in state.values())
        headers = 4096 * len(record.packs)
        assert sum(pack.size for pack in record.packs) <= 2 * live + headers
        assert len(record.packs) <= MAX_LINKED_PACKS + 8
        assert record.bytes_shared <= live
        if data.draw(st.booleans(), "a bundle vanishes"):
            gone = data.draw(st.sampled_from(sorted(kept)))
            bundle.delete(run.disk, place("runs", gone))  # behind the back of the writer
            del kept[gone]
    for name, digest in kept.items():
        assert content(run.disk, place("runs", name)) == digest


def test_a_frozen_piece_is_rewritten_about_as_often_as_the_logarithm_of_the_saves():
    """The worst case: half of what is frozen melts at every save, so packs lose their worth again and again."""
    run, saves = Run(), 120
    frozen = noise(PIECE, 0)
    rewrites = 0
    previous = None
    rng = np.random.default_rng(0)
    others = {n: noise(PIECE, n) for n in range(1, 9)}
    for save_number in range(saves):
        for n in rng.choice(8, 4, replace=False) + 1:
            others[n] = noise(PIECE, 1000 + save_number * 10 + n)
        run.save({"frozen": frozen} | {str(n): array for n, array in others.items()})
        with bundle.Bundle(run.disk, run.place(run.seq)) as opened:
            [piece] = opened.stored.pieces["frozen"]
        rewrites += piece.file != previous
        previous = piece.file
    assert rewrites <= math.log2(saves) + 1 + saves / MAX_LINKS


def test_a_pack_is_linked_only_if_half_of_it_is_live():
    run = Run()
    arrays = {str(n): noise(PIECE, n) for n in range(4)}
    run.save(arrays)
    assert run.save({"0": arrays["0"], "1": arrays["1"], "2": arrays["2"]}).bytes_shared == 3 * PIECE
    assert run.save({"0": arrays["0"]}).bytes_shared == 0
    assert run.save({"0": arrays["0"]}).bytes_shared == PIECE  # its own pack now


def test_pieces_under_64_kib_are_always_written():
    run = Run()
    small = {"a": noise(PIECE - 1, 0)}
    run.save(small)
    assert run.save(small).bytes_shared == 0


def test_equal_arrays_share_whatever_their_names_and_types():
    run = Run()
    data = noise(PIECE, 0)
    run.save({"first": data})
    again = run.save({"second": data.view("f4").reshape(-1, 4), "third": data.copy()})
    assert again.bytes_shared == PIECE
    assert again.bytes_captured == 2 * PIECE
    assert load(run.disk, run.place(2))["second"].tobytes() == data.tobytes()


def test_at_most_64_packs_are_linked_and_the_rest_is_gathered_into_few():
    run = Run()
    arrays = {str(n): noise(PIECE * (1 + n % 2), n) for n in range(70)}
    for n in range(70):
        run.save({str(n): arrays[str(n)]})
    record = run.save(arrays)
    with bundle.Bundle(run.disk, run.place(run.seq)) as opened:
        linked = [count for count in opened.stored.links.values() if count]
    assert len(linked) == MAX_LINKED_PACKS
    assert record.bytes_written < 8 * PIECE  # those with the fewest live bytes
    assert content(run.disk, run.place(run.seq)) == content_of(arrays)


def test_a_pack_that_a_resumed_run_has_verified_is_linked_and_keeps_its_count():
    run, data = Run(), {"frozen": noise(PIECE, 0)}
    for _ in range(5):
        run.save(data)
    resumed = Run(run.disk)
    resumed.seq = run.seq
    with bundle.Bundle(run.disk, run.place(5)) as opened:
        opened.check([*leaves(opened.tree)])
        resumed.sharing.learn(opened.path, opened.record, opened.stored)
    records = [resumed.save(data) for _ in range(MAX_LINKS - 3)]
    assert [record.bytes_shared > 0 for record in records] == [True] * (MAX_LINKS - 4) + [False]


def test_an_overwritten_bundle_keeps_what_it_shares_under_names_of_its_own(disk, runs):
    run = Run(disk, runs)
    frozen = noise(PIECE, 0)
    first = run.save({"frozen": frozen, "n": 1}, "best")
    second = run.save({"frozen": frozen, "n": 2}, "best")
    assert second.bytes_shared == PIECE
    names = {name for name, _ in inodes(disk, place(runs))}
    assert names == {"checkpoint.json", second.tree.name, *(pack.name for pack in second.packs)}
    assert not any(name.startswith(first.id) for name in names)


def test_links_cost_nothing_and_any_bundle_may_go(tmp_path):
    run = Run(LocalDisk(), str(tmp_path))
    state = {"frozen": noise(4 * PIECE, 0)}
    for n in range(3):
        run.save(state | {"n": n})
    packs = [next((tmp_path / f"s{n}.ckpt.mml").glob("*.safetensors")) for n in (1, 2, 3)]
    assert len({pack.stat().st_ino for pack in packs}) == 1
    for file in (tmp_path / "s1.ckpt.mml").iterdir():
        file.unlink()
    assert load(run.disk, run.place(2))["n"] == 1
    assert load(run.disk, run.place(3))["n"] == 2


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EMLINK, errno.ENOENT, errno.EPERM, errno.ENOTSUP])
def test_where_a_link_is_refused_the_bytes_are_written(error):
    run, state = Run(), {"frozen": noise(PIECE, 0)}
    run.save(state)
    run.disk = FaultyDisk(run.disk, 0, error, lasting=True, kinds=frozenset({"link"}))
    record = run.save(state)
    assert record.bytes_shared == 0
    assert content(run.disk, run.place(2)) == content_of(state)


def test_a_link_that_fails_for_lack_of_space_is_a_failed_save():
    run, state = Run(), {"frozen": noise(PIECE, 0)}
    run.save(state)
    run.disk = FaultyDisk(run.disk, 0, errno.ENOSPC, kinds=frozenset({"link"}))
    with pytest.raises(SaveError, match="ENOSPC"):
        run.save(state)


def test_when_one_home_of_a_pack_is_gone_another_serves():
    run, state = Run(), {"frozen": noise(PIECE, 0)}
    for _ in range(3):
        run.save(state)
    bundle.delete(run.disk, run.place(3))
    bundle.delete(run.disk, run.place(1))
    assert run.save(state).bytes_shared == PIECE
    bundle.delete(run.disk, run.place(2))
    bundle.delete(run.disk, run.place(4))
    assert run.save(state).bytes_shared == 0
    assert content(run.disk, run.place(5)) == content_of(state)


def test_a_pack_that_was_cut_is_not_linked(tmp_path):
    run, state = Run(LocalDisk(), str(tmp_path)), {"frozen": noise(PIECE, 0)}
    first = run.save(state)
    os.truncate(f"{run.place(1)}/{first.packs[0].name}", 5000)
    second = run.save(state)
    assert second.bytes_shared == 0
    assert {name for name, _ in inodes(run.disk, run.place(2))} == {
        "checkpoint.json",
        second.tree.name,
        second.packs[0].name,
    }
    assert content(run.disk, run.place(2)) == content_of(state)


def test_what_was_saved_for_this_process_only_is_made_durable_before_it_is_linked():
    disk = RecordingDisk()
    run, state = Run(disk), {"frozen": noise(PIECE, 0)}
    run.save(state, durability="process")
    assert not any(event.kind == "sync" for event in disk.events)
    begun = len(disk.events)
    assert run.save(state).bytes_shared == PIECE
    written = {event.inode for event in disk.events[:begun] if event.kind == "write"}
    assert written & {event.inode for event in disk.events[begun:] if event.kind == "sync"}
