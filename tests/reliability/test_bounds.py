"""What a checkpoint may cost whoever reads it is bounded, and the bounds are the reader's to choose."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from holdfast import bundle
from holdfast.errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    CheckpointUnreadableError,
    HoldfastError,
    UsageError,
)
from holdfast.storage import MemoryDisk
from tests.support.bundle_cases import noise, place
from tests.support.reliability.forging import Forgery, files_of_state, put


def opened(state, **options):
    return holdfast.open(
        place("runs"), disk=put(MemoryDisk(), place("runs"), files_of_state(state)), **options
    )


def test_more_new_bytes_than_requested_are_refused_and_parts_are_still_read():
    state = {"large": noise(5000, 1), "small": np.arange(3)}
    with opened(state, max_bytes=4999) as checkpoint:
        for ask in (checkpoint.load, lambda: checkpoint["large"]):
            with pytest.raises(UsageError, match=r"would take 5,0\d\d bytes, more than 4,999 \(max_bytes\)"):
                ask()
        assert checkpoint["small"].tolist() == [0, 1, 2]
        checkpoint.restore({"large": (live := np.zeros(5000, np.uint8))})
        assert live.tobytes() == state["large"].tobytes()
    with opened(state, max_bytes=5024) as checkpoint:
        assert checkpoint.load()["large"].tobytes() == state["large"].tobytes()


def test_by_default_the_machine_is_the_bound(monkeypatch):
    """Equal bytes are stored once, so a small bundle can hold more than any memory."""
    monkeypatch.setattr("holdfast.checkpoint._checkpoint._memory_bytes", lambda: 4000)
    with (
        opened({"zeros": np.zeros(1000)}) as checkpoint,
        pytest.raises(UsageError, match="the memory of this machine"),
    ):
        checkpoint.load()


def test_bytes_that_many_arrays_share_are_read_once_to_verify_them(monkeypatch):
    files = files_of_state({"x": noise(8192, 1), "y": [noise(8192, 1) for _ in range(20)]})
    with bundle.Bundle(put(MemoryDisk(), place("runs"), files), place("runs")) as found:
        reads = []
        packs = found._packs
        monkeypatch.setattr(
            packs, "_read", lambda *args: reads.append(args) or type(packs)._read(packs, *args)
        )
        assert [*found.problems(deep=True)] == []
        assert len(reads) == 1


def test_of_bytes_that_many_arrays_share_the_damage_of_each_is_named():
    files = files_of_state({"x": noise(8192, 1), "y": [noise(8192, 1)]})
    pack = next(name for name in files if name.endswith(".safetensors"))
    files[pack] = files[pack][:-1] + bytes([files[pack][-1] ^ 1])
    with bundle.Bundle(put(MemoryDisk(), place("runs"), files), place("runs")) as found:
        assert {problem.leaf for problem in found.problems()} == {"x", "y/0"}


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "/dev/null", "/dev/null/x"])
def test_a_path_that_no_checkpoint_can_have_is_an_error_of_the_library(path):
    refused = (CheckpointNotFoundError, CheckpointDamagedError, CheckpointUnreadableError, UsageError)
    with pytest.raises(refused):
        holdfast.open(path)


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox])
@pytest.mark.parametrize("position", [-1, 625, 1 << 30])
def test_a_generator_is_never_set_beyond_its_words(kind, position):
    """NumPy would read whatever is in memory there."""
    live = np.random.Generator(kind(2))
    before = live.bit_generator.state
    forged = Forgery(files_of_state({"g": np.random.Generator(kind(1))}))
    saved = forged.state["g"]["object"]["state"]["map"]
    (saved["state"]["map"] if kind is np.random.MT19937 else saved)[_PLACES[kind]] = position
    disk = put(MemoryDisk(), place("runs"), forged.sealed())
    with holdfast.open(place("runs"), disk=disk) as checkpoint:
        with pytest.raises(CheckpointDamagedError, match=f"next word would be {position} of "):
            checkpoint.load()
        with pytest.raises(HoldfastError, match=f"next word would be {position} of "):
            checkpoint.restore({"g": live})
    assert repr(live.bit_generator.state) == repr(before)


_PLACES = {np.random.MT19937: "pos", np.random.Philox: "buffer_pos"}


def test_mapped_arrays_are_bounded_where_they_are_copies():
    """What consists of the same bytes twice stands nowhere as one run, so nothing can map it."""
    state = {"twice": np.tile(noise(4 << 20, 1), 2), "once": noise(5000, 2)}
    with opened(state, max_bytes=(8 << 20) - 1) as checkpoint:
        arrays = checkpoint.load(mmap=True)
        assert arrays["once"].tobytes() == state["once"].tobytes()
        with pytest.raises(UsageError, match="max_bytes"):
            arrays["twice"]
