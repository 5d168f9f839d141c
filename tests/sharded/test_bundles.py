"""A checkpoint that several processes save together: what each has is written by one of them, and anybody reads all of it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import holdfast
from holdfast import bundle
from holdfast.errors import CheckpointExistsError, SaveError, UsageError
from holdfast.records import Box
from holdfast.state import rebuild
from holdfast.storage import LocalDisk, MemoryDisk
from tests.support.crews import Captured, draft, leaf_of, opened, save_boxes, together
from tests.support.ranks import ROOT

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "large": RANDOM.random((1500, 1600), dtype="float32"),  # several pieces
    "long": RANDOM.random((3, 700_000)),  # rows longer than a piece
    "columns": RANDOM.random((7, 5)),
    "bfloat16": RANDOM.random((8, 3)).astype(ml_dtypes.bfloat16),
    "scalar": np.array(3.0),
    "cube": RANDOM.integers(0, 9, (4, 6, 5)),
}


def rows(array: np.ndarray, ranks: int, axis: int = 0) -> list[tuple[Sequence[int], Sequence[int]]]:
    """What each rank has: as many rows as fit, the last ones fewer or none."""
    size = -(-array.shape[axis] // ranks)
    cuts = [min(size * rank, array.shape[axis]) for rank in range(ranks + 1)]
    found = []
    for first, end in pairwise(cuts):
        offset, shape = [0] * array.ndim, list(array.shape)
        offset[axis], shape[axis] = (first if end > first else 0), end - first
        found.append((offset, shape))
    return found


def spread(ranks: int) -> list[dict[str, Any]]:
    by_array = {
        "large": rows(ARRAYS["large"], ranks),
        "long": rows(ARRAYS["long"], ranks),
        "columns": rows(ARRAYS["columns"], ranks, axis=1),
        "bfloat16": rows(ARRAYS["bfloat16"], ranks),
        "scalar": [((), ())] * ranks,
        "cube": rows(ARRAYS["cube"], ranks, axis=1),
    }
    return [{path: boxes[rank] for path, boxes in by_array.items()} for rank in range(ranks)]


def own(rank: int) -> np.ndarray:
    return np.arange(4) + 10 * rank


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("sharded")
    results = save_boxes(LocalDisk(str(path)), spread(request.param), ARRAYS, own=own)
    for each in results:
        if isinstance(each, Exception):
            raise each
    assert len({each.id for each in results}) == 1
    return path / "runs" / "best.ckpt.mml", request.param


@pytest.mark.medium
def test_one_process_reads_all_arrays_entire_and_what_each_rank_had_for_itself(saved):
    path, ranks = saved
    with holdfast.open(path) as checkpoint:
        assert checkpoint.verify(deep=True) == []
        value = checkpoint.load()
        mapped = checkpoint.load(mmap=True)
        for name, array in ARRAYS.items():
            assert np.array_equal(value[name], array), name
            assert np.array_equal(mapped[name], array), name
        assert value["step"] == 7
        assert [each.tolist() for each in value["own"]] == [own(rank).tolist() for rank in range(ranks)]
        assert checkpoint.record.details["world"] == ranks
        files = {each.name: each.stat().st_size for each in path.iterdir()}
        assert checkpoint.record.size_bytes == sum(files.values()) - files["checkpoint.json"]


@pytest.mark.medium
def test_the_script_without_holdfast_reads_it(saved):
    path, ranks = saved
    spec = importlib.util.spec_from_file_location("script", ROOT / "docs" / "restore_without_holdfast.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    value = script.load(path)
    for name, array in ARRAYS.items():
        wanted = array.view("<u2") if array.dtype == ml_dtypes.bfloat16 else array
        assert np.array_equal(value[name], wanted), name
    assert [each.tolist() for each in value["own"]] == [own(rank).tolist() for rank in range(ranks)]


@pytest.mark.medium
def test_any_part_of_an_array_is_that_slice_of_it(saved):
    path, _ = saved
    with holdfast.open(path) as checkpoint:
        source = checkpoint.source
        for name, offset, shape in [
            ("large", (333, 77), (700, 40)),
            ("large", (1499, 0), (1, 1600)),
            ("large", (0, 0), (1500, 1600)),
            ("long", (1, 599_999), (2, 7)),
            ("columns", (0, 1), (7, 3)),
            ("bfloat16", (5, 0), (3, 3)),
            ("scalar", (), ()),
            ("cube", (1, 2, 3), (2, 3, 1)),
            ("cube", (0, 0, 0), (0, 6, 5)),
        ]:
            array = ARRAYS[name]
            wanted = Box(name, source_dtype(array), shape, of=array.shape, offset=offset)
            cut = array[tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))]
            out = np.empty(wanted.size_bytes, np.uint8)
            source.read_into(wanted, out)
            assert out.tobytes() == cut.tobytes(), (name, offset, shape)
            in_parts = b"".join(data.tobytes() for _, data in source.parts(wanted))
            assert in_parts == cut.tobytes(), (name, offset, shape)
            source.check([wanted])


def source_dtype(array: np.ndarray) -> str:
    return str(array.dtype)


@pytest.mark.medium
def test_a_copy_for_one_process_has_the_same_arrays(saved, tmp_path):
    path, ranks = saved
    copy = holdfast.archive(path, tmp_path / "copy")
    assert holdfast.diff(path, copy.path).same_state
    with holdfast.open(copy.path) as checkpoint:
        assert checkpoint.record.parts == ()
        assert checkpoint.verify(deep=True) == []
        assert np.array_equal(checkpoint["long"], ARRAYS["long"])
        assert len(checkpoint["own"]) == ranks


@pytest.mark.medium
def test_it_can_be_exported_forked_averaged_and_removed(saved, tmp_path):
    path, _ = saved
    from safetensors.numpy import load_file

    holdfast.export(path, tmp_path / "all.npz", only="cube")
    assert np.array_equal(np.load(tmp_path / "all.npz")["cube"], ARRAYS["cube"])
    holdfast.export(path, tmp_path / "large.safetensors", only="l*")
    assert np.array_equal(load_file(tmp_path / "large.safetensors")["long"], ARRAYS["long"])
    made = holdfast.average([path, path], tmp_path / "average")
    with holdfast.open(made.path) as checkpoint:
        assert np.array_equal(checkpoint["columns"], ARRAYS["columns"])
    moved = tmp_path / "moved.ckpt.mml"
    shutil.copytree(path, moved)
    bundle.delete(LocalDisk(), str(moved))
    assert not [each for each in tmp_path.iterdir() if "moved" in each.name]


def test_an_unsharded_bundle_stays_format_1_and_a_sharded_one_says_2(tmp_path):
    plain = holdfast.save(tmp_path / "plain", {"a": np.arange(3.0)})
    record = json.loads((plain / "checkpoint.json").read_bytes())
    assert (record["format"], "parts" in record) == (1, False)
    save_boxes(LocalDisk(str(tmp_path)), spread(2), ARRAYS)
    record = json.loads((tmp_path / "runs" / "best.ckpt.mml" / "checkpoint.json").read_bytes())
    assert (record["format"], len(record["parts"])) == (2, 2)


def test_replicas_share_the_work_and_nothing_is_written_twice():
    disk = MemoryDisk()
    array = {"all": RANDOM.random((1000, 1000))}
    save_boxes(disk, [{"all": ((0, 0), (1000, 1000))}] * 4, array)
    with opened(disk) as found:
        sizes = [part.packs_size for part in found.record.parts]
        assert max(sizes) <= 1.05 * sum(sizes) / 4
        assert sum(sizes) <= 1.01 * array["all"].nbytes
        assert np.array_equal(rebuild(found)["all"], array["all"])


def test_small_replicas_are_written_by_whoever_has_least():
    disk = MemoryDisk()
    arrays = {f"a{index}": RANDOM.random(100) for index in range(40)}
    save_boxes(disk, [dict.fromkeys(arrays, ((0,), (100,)))] * 4, arrays)
    with opened(disk) as found:
        assert len({part.packs_size for part in found.record.parts}) == 1


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        (
            [{"columns": ((0, 0), (7, 3))}, {"columns": ((0, 2), (7, 3))}],
            "'columns' does not make up the array",
        ),
        (
            [{"columns": ((0, 0), (7, 3))}, {"columns": ((0, 3), (7, 1))}],
            "'columns' does not make up the array",
        ),
        ([{"columns": ((0, 0), (7, 5))}, {}], "rank 1 has other names or arrays"),
        ([{}, {"columns": ((0, 0), (7, 5))}], "'columns' is only on other ranks than 0"),
        ([{"columns": ((0, 0), (0, 5))}, {"columns": ((0, 0), (0, 5))}], "no rank has items of it"),
    ],
)
def test_what_the_ranks_have_must_make_up_the_arrays(boxes, why):
    disk = MemoryDisk()
    for result in save_boxes(disk, boxes, ARRAYS):
        assert isinstance(result, UsageError)
        assert why in str(result)
    assert disk.folders("runs") == [] if "runs" in disk.folders(".") else True


def test_all_ranks_must_save_under_one_name():
    disk = MemoryDisk()
    array = np.arange(3.0)

    def act(crew):
        captured = Captured({"a": leaf_of("a", array)}, {"a": array})
        return bundle.save_together(crew, disk, "runs", draft(f"r{crew.rank}"), lambda: captured)

    for result in together(act, 2):
        assert isinstance(result, UsageError)
        assert "rank 1 saves 'r1' and rank 0 'r0'" in str(result)


def test_what_cannot_be_captured_on_one_rank_is_an_error_on_all():
    def act(crew):
        def capture():
            if crew.rank == 1:
                raise holdfast.errors.UnsupportedStateError("x", "socket")
            return Captured({"a": 1}, {})

        return bundle.save_together(crew, MemoryDisk(), "runs", draft("best"), capture)

    first, second, third = together(act, 3)
    assert isinstance(second, holdfast.errors.UnsupportedStateError)
    assert isinstance(first, SaveError)
    assert str(first) == str(third)
    assert "rank 1: cannot save 'x'" in str(first)


def test_a_name_that_is_taken_is_refused_on_all_ranks():
    disk = MemoryDisk()
    save_boxes(disk, spread(2), ARRAYS)
    with opened(disk) as before:
        for result in save_boxes(disk, spread(2), ARRAYS):
            assert isinstance(result, CheckpointExistsError)
        with opened(disk) as after:
            assert after.record == before.record


def test_other_values_than_those_of_rank_0_are_noted(caplog):
    disk = MemoryDisk()

    def act(crew):
        array = np.arange(3.0) + (crew.rank == 2)
        return bundle.save_together(
            crew, disk, "runs", draft("best"), lambda: Captured({"a": leaf_of("a", array)}, {"a": array})
        )

    assert together(act, 3)[1].details["differing_ranks"] == [2]
    assert "rank 2: other values than on rank 0" in caplog.text
    with opened(disk) as found:
        assert rebuild(found)["a"].tolist() == [0, 1, 2]


def test_what_is_not_finite_is_named_by_the_array_whichever_rank_has_it():
    array = np.zeros((4, 3))
    array[3, 1] = np.nan
    array[0, 0] = np.inf
    disk = MemoryDisk()
    boxes = [{"a": box} for box in rows(array, 2)]
    record = save_boxes(disk, boxes, {"a": array}, watching=lambda tree: lambda path: path == "a")[0]
    assert record.details["health"] == {"sick": 1, "leaves": {"a": [1, 1]}}
