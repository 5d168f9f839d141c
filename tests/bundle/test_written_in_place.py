"""Small arrays lie in a snapshot as they will in the pack, so that they are written from there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from holdfast import bundle, state  # noqa: E402
from holdfast.bundle._digest import Ready, digest  # noqa: E402
from holdfast.bundle._finite import watch_none  # noqa: E402
from holdfast.bundle._format.pack import PackWriter, encode_header, header_size  # noqa: E402
from holdfast.bundle._layout import Outline  # noqa: E402
from holdfast.checkpoint import draft  # noqa: E402
from holdfast.records import Moment, Snapshot  # noqa: E402
from holdfast.storage import LocalDisk  # noqa: E402


class Written:
    """A file that keeps what it is given, without a copy."""

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self.header = b""

    def skip(self, size: int) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...

    def write(self, *data) -> None:
        self.parts += map(memoryview, data)

    def fill(self, data) -> None:
        self.header = bytes(data)


def _model(layers: int, width: int = 79):
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, width)).sum().backward()
    optimizer.step()
    return {"model": model, "optimizer": optimizer}


def _digested(snapshot: Snapshot) -> list[Ready]:
    return [*digest(snapshot, Outline(snapshot.tree).layout, watch_none)]


def test_the_pieces_of_a_model_and_its_optimizer_lie_side_by_side_in_the_order_of_a_pack():
    batches = _digested(state.capture(_model(layers=60), plan=state.Plan()))
    extents = [each.extent for each in batches]
    assert len(extents) > 2
    assert all(each is not None for each in extents)
    assert all(one.end == other.start for one, other in pairwise(extents))
    assert [bytes(each.extent.data) for each in batches] == [b"".join(each.data) for each in batches]


def test_what_lies_in_one_run_is_written_in_few_parts_and_without_a_copy():
    snapshot = state.capture(_model(layers=60))
    batches = _digested(snapshot)
    file, cuts = Written(), [piece.cut for each in batches for piece in each.pieces]
    pack = PackWriter(file, header_size(cuts))
    for each in batches:
        pack.add_extent([piece.cut for piece in each.pieces], each.extent)
    header, size = pack.finish()
    memory = np.frombuffer(batches[0].extent.memory, np.uint8)
    assert len(file.parts) < 5 < len(batches[0].pieces)
    assert all(np.shares_memory(np.frombuffer(each, np.uint8), memory) for each in file.parts)
    assert b"".join(file.parts) == b"".join(piece for each in batches for piece in each.data)
    assert header == file.header == encode_header(cuts, len(header))
    assert size == len(header) + sum(cut.size for cut in cuts)


def test_a_live_snapshot_has_no_memory_that_nothing_changes():
    snapshot = state.look(_model(layers=2))
    assert [each.extent for each in _digested(snapshot)] == [None] * len(_digested(snapshot))


@pytest.mark.medium
def test_arrays_of_all_sizes_that_occur_twice_or_are_known_come_back(tmp_path):
    noise = np.random.default_rng(3)
    kinds = [np.float32, np.float64, np.int8, np.bool_, np.complex128, np.float16]
    sizes = [0, 1, 7, 1024, 4096, 5000, 70_003]
    arrays = {
        f"{kind.__name__} {size}": noise.integers(0, 2, size).astype(kind) for kind in kinds for size in sizes
    }
    objects = {
        "arrays": arrays,
        "again": {name: each.copy() for name, each in arrays.items()},
        "x": torch.ones(3, 5),
    }
    objects["again"]["another"] = noise.random(90_000)
    disk, sharing, buffers = LocalDisk(str(tmp_path)), bundle.Sharing(), state.Buffers()
    for seq, name in enumerate(("one", "two", "three")):
        objects["again"]["another"][seq] = -1
        arrays["float32 5000"][seq] = 7
        snapshot = state.capture(objects, buffers=buffers)
        made = draft(name, "train", Moment(run="r", hook="save"), reason="a test")
        bundle.save(disk, ".", made, snapshot, sharing)
        snapshot.release()
        with bundle.Bundle(disk, f"{name}.ckpt.mml") as opened:
            assert [*opened.problems(deep=True)] == []
            found = state.rebuild(opened)
        for part in ("arrays", "again"):
            assert found[part].keys() == objects[part].keys()
            assert all(np.array_equal(found[part][key], each) for key, each in objects[part].items())
