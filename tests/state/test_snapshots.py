"""Snapshots: copies that nobody can change, in memory that is lent to one at a time; and live ones, read in pieces."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from holdfast.bundle import Bundle, Sharing, save
from holdfast.errors import SnapshotTornError
from holdfast.records import CheckpointRecord, FileEntry, Moment, leaves
from holdfast.state import Buffers, capture, digest, look
from holdfast.storage import LocalDisk

MIB = 1 << 20


def many_kinds() -> dict:
    """Arrays of every way to lie in memory, small and large, some of several copied chunks."""
    draw = np.random.default_rng(0)
    noise = torch.Generator().manual_seed(0)
    matrix = torch.randn(600, 700, generator=noise)
    record = np.zeros(5, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    record["b"] = draw.normal(size=5)
    return {
        "large": draw.normal(size=5 * MIB),
        "small": [draw.normal(size=n) for n in range(20)],
        "fortran": np.asfortranarray(draw.normal(size=(30, 40, 5))),
        "strided": draw.normal(size=(300, 400))[::2, ::-3],
        "big endian": draw.normal(size=7).astype(">f8"),
        "record": record,
        "scalar": np.float32(1.5),
        "bytes": bytes(range(256)) * 40,
        "tensor": matrix,
        "transposed": torch.randn(30, 40, 5, generator=noise).permute(2, 1, 0),
        "every second": torch.randn(800, 900, generator=noise)[::2, 1::2],
        "middle": torch.randn(6, 7, 8, generator=noise).transpose(0, 1),
        "conjugate": torch.randn(64, dtype=torch.complex64, generator=noise).conj(),
        "one number": torch.tensor(3.0),
        "half": torch.randn(9, generator=noise).bfloat16(),
        "none": torch.empty(0, 3),
    }


def test_a_copy_and_a_live_snapshot_say_the_same_and_so_do_all_their_pieces():
    values = many_kinds()
    copied, live = capture(values), look(values)
    assert live.tree == copied.tree
    assert digest(live) == digest(copied)
    for leaf in leaves(copied.tree):
        item = leaf.size_bytes // max(1, int(np.prod(leaf.shape)))
        for start, items in [(0, 1), (item * 3, 5), (item * 13, 1000), (item, 7)]:
            size = min(items * item, leaf.size_bytes - start)
            if size > 0:
                piece = live.piece(leaf, start, size)
                assert np.array_equal(piece, copied.piece(leaf, start, size)), leaf.path


def test_live_arrays_in_a_row_are_read_where_they_are_and_others_only_piece_by_piece():
    row, other = np.zeros(4 * MIB), np.zeros((2048, 2048)).T[::2]
    snapshot = look({"row": row, "other": other})
    tracemalloc.start()
    assert np.shares_memory(snapshot.piece(snapshot.tree["row"], 0, row.nbytes), row)
    snapshot.piece(snapshot.tree["other"], MIB, MIB)
    assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    tracemalloc.stop()


def test_memory_that_a_snapshot_has_is_lent_to_nobody_else_before_it_is_released():
    buffers = Buffers()
    values = np.zeros(MIB)
    first = capture({"values": values}, buffers=buffers)
    values += 1
    second = capture({"values": values}, buffers=buffers)
    leaf = first.tree["values"]
    assert (first.piece(leaf, 0, leaf.size_bytes).view(float) == 0).all()
    assert (second.piece(leaf, 0, leaf.size_bytes).view(float) == 1).all()
    kept = first.piece(leaf, 0, leaf.size_bytes)
    first.release()
    first.release()  # twice is once: two snapshots must not get one memory
    third, fourth = capture({"values": values}, buffers=buffers), capture({"values": values}, buffers=buffers)
    assert np.shares_memory(third.piece(leaf, 0, leaf.size_bytes), kept)
    assert not np.shares_memory(fourth.piece(leaf, 0, leaf.size_bytes), kept)


def test_a_copy_that_fails_gives_its_memory_back_and_says_why(monkeypatch):
    from holdfast.state._block import copying

    def fail(out, live, start):
        raise MemoryError

    buffers = Buffers()
    with monkeypatch.context() as patch:
        patch.setattr(copying, "_copy", fail)
        with pytest.raises(MemoryError):
            capture({"values": np.zeros(8 * MIB)}, buffers=buffers)
    assert len(buffers._free) == 1
    capture({"values": np.zeros(8 * MIB)}, buffers=buffers)
    assert buffers._free == []


class SlowDevice:
    """An accelerator of plain memory: what was sent arrives when it is waited for, and not before."""

    def __init__(self) -> None:
        self.queue, self.began, self.made = [], 0, []

    def empty(self, size):
        self.made.append(np.empty(size, np.uint8))
        return self.made[-1]

    def begin(self):
        self.began += 1

    def wait(self):
        while self.queue:
            out, data = self.queue.pop()
            out[:] = data


class Remote:
    """An array on that device."""

    def __init__(self, device: SlowDevice, values: np.ndarray) -> None:
        self.home, self.owner = device, values

    def device(self):
        return self.home

    def send(self, out):
        assert self.home.began
        self.home.queue.append((out, self.owner.view(np.uint8).copy()))

    def view(self):
        return None


class OfDevice:
    """The adapter of such arrays."""

    name = "test.Remote"

    def claims(self, kind):
        return kind is Remote

    def capture(self, value, walk, path):
        shape = value.owner.shape
        return walk.array(path, dtype="float64", shape=shape, live=value, kind="numpy")


@pytest.mark.parametrize("kept", [True, False])
def test_arrays_of_a_device_are_there_when_the_copy_is_said_to_be_done_in_memory_of_the_device(
    kept, monkeypatch
):
    monkeypatch.setattr("holdfast.state._registry._registered", [OfDevice()])
    monkeypatch.setattr("holdfast.state._registry._by_type", {})
    device, buffers = SlowDevice(), Buffers() if kept else None
    near = np.arange(3 * MIB, dtype=float)
    for number in range(3):
        values = {"near": near, "far": [Remote(device, np.full(10_000, float(n + number))) for n in range(3)]}
        snapshot = capture(values, buffers=buffers)
        assert device.queue == []
        assert device.began == number + 1
        for n, leaf in enumerate(snapshot.tree["far"]):
            assert (snapshot.piece(leaf, 0, leaf.size_bytes).view(float) == n + number).all()
        leaf = snapshot.tree["near"]
        assert np.array_equal(snapshot.piece(leaf, 0, leaf.size_bytes).view(float), near)
        assert np.shares_memory(snapshot.piece(leaf, 0, leaf.size_bytes), device.made[-1])
        snapshot.release()
    assert len(device.made) == (1 if kept else 3)


class Meddling(LocalDisk):
    """A disk; once the first pack is created, somebody changes what is being saved."""

    def __init__(self, meddle) -> None:
        self.meddle = meddle

    def open_directory(self, path):
        directory = super().open_directory(path)
        create = directory.create

        def meddling_create(name, **options):
            if name.endswith(".safetensors"):
                self.meddle()
            return create(name, **options)

        directory.create = meddling_create
        return directory


def draft() -> CheckpointRecord:
    return CheckpointRecord(
        id="0" * 32, name="one", kind="train", moment=Moment(run="f" * 32, hook="epoch_end"), seq=1,
        created="2026-01-01T00:00:00.000000+00:00", tree=FileEntry("", 0, ""), packs=(),
    )  # fmt: skip


def test_a_live_state_that_is_changed_while_it_is_written_is_not_committed(tmp_path):
    values = np.zeros(100)

    def meddle():
        values[:] += 1

    disk = Meddling(meddle)
    with pytest.raises(SnapshotTornError, match="values"):
        save(disk, str(tmp_path), draft(), look({"values": values}), Sharing())
    assert list(tmp_path.glob("*.ckpt.mml")) == []
    disk.meddle = lambda: None
    save(disk, str(tmp_path), draft(), look({"values": values}), Sharing())
    with Bundle(disk, f"{tmp_path}/one.ckpt.mml") as opened:
        assert digest(opened) == digest(look({"values": values}))
