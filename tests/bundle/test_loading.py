"""What loading leaves behind: nothing but what was asked for."""

from __future__ import annotations

import gc
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import bundle
from holdfast.errors import PieceDamagedError, RestoreIncompleteError, StateMismatchError
from holdfast.state import rebuild, restore
from holdfast.storage import LocalDisk, MemoryDisk
from tests.support.bundle_cases import place, save


def test_the_cycle_collector_is_as_it_was_after_a_load_even_one_that_fails():
    disk = MemoryDisk()
    save(disk, "runs", {"weight": np.arange(3.0)})
    for chosen in (gc.disable, gc.enable):
        chosen()
        before = gc.isenabled()
        with bundle.Bundle(disk, place("runs")) as opened:
            rebuild(opened)
            with pytest.raises(StateMismatchError):
                restore(opened, {"weight": np.arange(4.0)})
        assert gc.isenabled() is before


def far_apart(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of which no two items are neighbours in memory."""
    return np.zeros((*shape, 2), dtype)[..., 0]


SHAPES = [(3_000_000,), (3, 1_100_000), (1200, 1000), (2, 3, 500_000), (1, 1, 7), ()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_live_arrays_and_tensors_of_any_strides_are_filled_piece_by_piece(shape, order):
    saved = np.asarray(np.random.default_rng(0).standard_normal(shape), order=order)
    save(disk := MemoryDisk(), "runs", {"array": saved, "tensor": torch.from_numpy(saved)})
    array, tensor = far_apart(shape, "float64"), torch.from_numpy(far_apart(shape, "float64"))
    with bundle.Bundle(disk, place("runs")) as opened:
        for verify in ("first", "streaming"):
            array[...] = 0
            tensor.zero_()
            restore(opened, {"array": array, "tensor": tensor}, verify=verify)
            assert array.tobytes() == tensor.numpy().tobytes() == saved.tobytes()


def test_negated_and_conjugated_live_tensors_take_the_values_and_not_the_bytes():
    saved = torch.randn(600_000, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    save(disk := MemoryDisk(), "runs", {"conj": saved, "neg": saved.imag.clone()})
    memory = torch.zeros_like(saved)
    live = {"conj": memory.conj(), "neg": torch.zeros_like(saved).conj().imag}
    with bundle.Bundle(disk, place("runs")) as opened:
        restore(opened, live)
    assert torch.equal(memory, saved.conj())
    assert torch.equal(live["neg"], saved.imag)


@pytest.mark.medium
@pytest.mark.parametrize("verify", ["first", "streaming"])
def test_a_restore_into_memory_with_strides_needs_little_memory_beside_it(verify):
    size_bytes = 80 << 20
    save(disk := MemoryDisk(), "runs", {"array": np.ones(size_bytes // 8)})
    live = far_apart((size_bytes // 8,), "float64")
    with bundle.Bundle(disk, place("runs")) as opened:
        tracemalloc.start()
        try:
            restore(opened, {"array": live}, verify=verify)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert live.all()
    assert peak_bytes < 40 << 20


def test_damage_in_a_later_piece_is_named_where_live_memory_has_strides(tmp_path):
    record = save(disk := LocalDisk(), str(tmp_path), {"array": np.arange(2_000_000.0)})
    pack = Path(place(str(tmp_path)), record.packs[0].name)
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    live = far_apart((2_000_000,), "float64")
    with bundle.Bundle(disk, place(str(tmp_path))) as opened:
        with pytest.raises(PieceDamagedError, match="'array' is damaged"):
            restore(opened, {"array": live}, verify="first")
        assert not live.any()
        with pytest.raises(RestoreIncompleteError, match="leaf 'array'"):
            restore(opened, {"array": live}, verify="streaming")


@pytest.mark.medium
def test_after_a_restore_that_met_damage_nobody_writes_to_live_memory_any_more(tmp_path):
    state = {f"array{index}": np.full(600_000, index + 1.0) for index in range(12)}
    record = save(disk := LocalDisk(), str(tmp_path), state)
    pack = Path(place(str(tmp_path)), record.packs[0].name)
    data = bytearray(pack.read_bytes())
    data[4096] ^= 1  # of the first array, so that many reads are still to come when it is found
    pack.write_bytes(data)
    live = {key: np.zeros_like(value) for key, value in state.items()}
    with bundle.Bundle(disk, place(str(tmp_path))) as opened:
        with pytest.raises(RestoreIncompleteError, match="'array0'"):
            restore(opened, live, verify="streaming")
        for array in live.values():
            array.fill(-1)
        time.sleep(0.05)
        assert all((array == -1).all() for array in live.values())
