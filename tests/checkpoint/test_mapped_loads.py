"""`load(mmap=True)` gives arrays where they lie on the disk, read-only, none of them unchecked."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

import holdfast
from holdfast import bundle
from holdfast.errors import PieceDamagedError, UsageError
from holdfast.storage import LocalDisk
from tests.support import bundle_cases

NOISE = np.random.default_rng(0)
LARGE = NOISE.standard_normal((1500, 1001))  # of three pieces
STATE = {
    "large": LARGE,
    "tied": LARGE,
    "fortran": np.asfortranarray(NOISE.standard_normal((30, 7))),
    "tensor": torch.arange(12.0).reshape(3, 4),
    "half": torch.arange(3).to(torch.bfloat16),
    "scalar": np.float32(2.5),
    "empty": np.empty((0, 3)),
    "structured": np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f8")]),
    "bytes": bytes(5000),
    "step": 3,
}


def save(directory: Path, state, sharing: bundle.Sharing | None = None, name: str = "best") -> Path:
    bundle_cases.save(LocalDisk(), str(directory), state, name=name, sharing=sharing)
    return directory / f"{name}.ckpt.mml"


def is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


def test_every_array_is_a_read_only_view_of_its_pack_and_right_to_the_bit(tmp_path):
    with holdfast.open(save(tmp_path, STATE)) as checkpoint:
        arrays = checkpoint.load(mmap=True)
        assert [*arrays] == [*(key for key in STATE if key not in ("step", "tied")), "tied"]
        for path, array in arrays.items():
            wanted = STATE[path]
            if isinstance(wanted, torch.Tensor):
                wanted = (wanted.view(torch.int16) if wanted.dtype == torch.bfloat16 else wanted).numpy()
            wanted = np.frombuffer(wanted, np.uint8) if isinstance(wanted, bytes) else np.asarray(wanted)
            assert array.shape == wanted.shape
            assert array.tobytes() == wanted.tobytes()
            assert array.strides == wanted.strides or path == "empty"
            assert is_mapped(array) or path == "empty"
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
        assert arrays["tied"] is arrays["large"]
        with pytest.raises(KeyError):
            arrays["step"]


def test_arrays_outlive_the_checkpoint_that_is_closed_and_deleted(tmp_path):
    place = save(tmp_path, {"weight": LARGE, "other": np.arange(3.0)})
    with holdfast.open(place) as checkpoint:
        arrays = checkpoint.load(mmap=True)
        weight = arrays["weight"]
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    assert np.array_equal(weight, LARGE)
    assert arrays["weight"] is weight
    with pytest.raises(UsageError, match="has been closed"):
        arrays["other"]


def test_a_damaged_array_is_found_when_it_is_requested_and_others_are_not_harmed(tmp_path):
    place = save(tmp_path, {"weight": LARGE, "other": np.arange(3.0)})
    [pack] = place.glob("*.safetensors")
    data = bytearray(pack.read_bytes())
    data[data.index(LARGE[700].tobytes())] ^= 1
    pack.write_bytes(data)
    with holdfast.open(place) as checkpoint:
        arrays = checkpoint.load(mmap=True)
        assert arrays["other"].tolist() == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(PieceDamagedError, match="'weight' is damaged"):
                arrays["weight"]
        assert "weight" in arrays


def test_a_pack_that_was_cut_after_it_was_opened_is_an_error_and_no_signal(tmp_path):
    place = save(tmp_path, {"weight": LARGE})
    with holdfast.open(place) as checkpoint:
        arrays = checkpoint.load(mmap=True)
        [pack] = place.glob("*.safetensors")
        with pack.open("r+b") as file:
            file.truncate(10_000)
        with pytest.raises(PieceDamagedError, match="unreadable"):
            arrays["weight"]


def test_an_array_whose_pieces_are_apart_comes_as_a_copy(tmp_path):
    sharing = bundle.Sharing()
    save(tmp_path, {"weight": LARGE}, sharing)
    changed = LARGE.copy()
    changed[-1] += 1  # of the last piece only
    with holdfast.open(save(tmp_path, {"weight": changed}, sharing, "next")) as checkpoint:
        assert checkpoint.record.bytes_shared > 0
        weight = checkpoint.load(mmap=True)["weight"]
        assert not is_mapped(weight)
        assert not weight.flags.writeable
        assert np.array_equal(weight, changed)
