"""Arrays are cut the same way in every checkpoint, and every piece is aligned in a valid safetensors file."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize

from holdfast import bundle, dtypes, paths
from holdfast.bundle._format.pack import ALIGNMENT, parse_header
from holdfast.bundle._format.pieces import cuts
from holdfast.records import Leaf, leaves
from holdfast.storage import LocalDisk, MemoryDisk
from tests.support.bundle_cases import load, place, read_file, save

MIB = 1 << 20


def cut(dtype: str, *shape: int, order: str = "C") -> list[tuple[str, str, tuple[int, ...]]]:
    """Key, safetensors type and shape of each piece."""
    return [(each.key, each.dtype, each.shape) for each in cuts(Leaf("w", dtype, shape, order))]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (cut("float32"), [("w", "F32", ())]),
        (cut("float32", 0), []),
        (cut("float32", 5, 0), []),
        (cut("float32", 3, 4), [("w", "F32", (3, 4))]),
        (cut("float32", 3, 4, order="F"), [("w", "F32", (4, 3))]),
        (cut("bfloat16", 7), [("w", "BF16", (7,))]),
        (cut("complex128", 3), [("w", "U8", (48,))]),
        (cut(">f4", 2, 2), [("w", "U8", (16,))]),
        (cut("float32", 1024, 1024), [("w", "F32", (1024, 1024))]),
        (cut("float32", 1025, 1024), [("w[0:1024]", "F32", (1024, 1024)), ("w[1024:1025]", "F32", (1, 1024))]),
        (cut("float32", 2000, 768), [("w[0:1364]", "F32", (1364, 768)), ("w[1364:2000]", "F32", (636, 768))]),
        (cut("int8", 5 * MIB), [("w[0:4194304]", "I8", (4 * MIB,)), ("w[4194304:5242880]", "I8", (MIB,))]),
        (
            cut("float32", 3, 700, 1000),  # two rows are too long for one piece
            [(f"w[{row}:{row + 1}]", "F32", (1, 700, 1000)) for row in range(3)],
        ),
        (
            cut("float32", 2, 3 * MIB // 2),  # a row is longer than a piece: a flat run
            [(f"w[{k * MIB}:{(k + 1) * MIB}]", "F32", (MIB,)) for k in range(3)],
        ),
        (
            cut("int16", 700, 1000, 3, order="F"),  # rows in memory are slices of the last axis
            [("w[0:2]", "I16", (2, 1000, 700)), ("w[2:3]", "I16", (1, 1000, 700))],
        ),
        (
            cut(f"|V{5 * MIB}", 1),  # an item is longer than a piece: a run of bytes
            [(f"w[0:{4 * MIB}]", "U8", (4 * MIB,)), (f"w[{4 * MIB}:{5 * MIB}]", "U8", (MIB,))],
        ),
    ],
    ids=lambda case: str(case)[:30],
)  # fmt: skip
def test_the_cut(pieces, expected):
    assert pieces == expected


def test_pieces_are_larger_in_very_large_arrays():
    assert [each.size for each in cuts(Leaf("w", "int8", (8 << 30,)))][:2] == [4 * MIB, 4 * MIB]
    assert [each.size for each in cuts(Leaf("w", "int8", ((8 << 30) + 1,)))][-2:] == [16 * MIB, 1]


@given(
    st.sampled_from(["bool", "int16", "float32", "float64", "complex128", "<U5", "|V3", ">i8"]),
    st.lists(st.integers(0, 1 << 12), max_size=4).map(tuple),
    st.sampled_from(["C", "F"]),
)
def test_pieces_are_every_byte_of_the_array_once_and_none_is_larger_than_readers_take(dtype, shape, order):
    leaf = Leaf("w", dtype, shape, order)
    if leaf.size_bytes > 1 << 30:
        return
    end = 0
    for each in cuts(leaf):
        assert each.start == end
        assert 0 < each.size <= 4 * MIB
        end += each.size
    assert end == leaf.size_bytes


def random_array(dtype: object, size: int, seed: int) -> np.ndarray:
    data = np.random.default_rng(seed).bytes(size * np.dtype(dtype).itemsize)
    return np.frombuffer(data, dtype)


arrays = st.builds(
    random_array,
    st.sampled_from(
        ["i1", "u2", "f4", "f8", "c8", "c16", "S3", "U5", "V12", ">i8", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
    ),
    st.sampled_from([1, 2, 3, 7, 1024, 4096, 5000]),
    st.integers(0, 99),
)  # fmt: skip


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=8), arrays, min_size=1, max_size=12))
def test_every_piece_is_aligned_to_its_items_and_safetensors_sees_the_same_bytes(state):
    disk = MemoryDisk()
    record = save(disk, "runs", state)
    by_path = {paths.child("", key): array for key, array in state.items()}
    seen = {}
    with bundle.Bundle(disk, place("runs")) as opened:
        for pack in record.packs:
            data = read_file(disk, place("runs"), pack.name)
            header = 8 + int.from_bytes(data[:8], "little")
            assert header % ALIGNMENT == 0
            spans = parse_header(data[:header], len(data))
            for key, entry in deserialize(data):
                start, end = spans[key]
                assert bytes(entry["data"]) == data[start:end]
                seen[pack.name, key] = start, data[start:end]
        for leaf in leaves(opened.tree):
            items = dtypes.item_size(leaf.dtype)
            found = b""
            for piece in opened.stored.pieces[leaf.path]:
                start, data = seen[piece.file, piece.key]
                found += data
                if piece.key.partition("[")[0] == leaf.path:  # else the bytes were first another array's
                    assert start % (items & -items) == 0
            assert found == by_path[leaf.path].tobytes()


def test_safetensors_loads_entire_arrays_as_they_are(tmp_path):
    state = {
        "weight": np.arange(6.0, dtype="f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.array(3),
        "half": np.ones(3, "f2"),
        "c": np.array([1 + 2j], "c8"),
    }
    record = save(LocalDisk(), str(tmp_path), state)
    [pack] = record.packs
    loaded = safetensors.numpy.load_file(tmp_path / "best.ckpt.mml" / pack.name)
    for name in ("weight", "scalar", "half", "c"):
        assert loaded[name].dtype == state[name].dtype
        np.testing.assert_array_equal(loaded[name], state[name])
    np.testing.assert_array_equal(loaded["fortran"].T, state["fortran"])


def test_an_array_of_many_pieces_is_read_entirely_and_in_part(disk, runs):
    state = {"rows": np.random.default_rng(0).standard_normal((300, 7000)), "flat": np.arange(1_500_000)}
    save(disk, runs, state)
    again = load(disk, place(runs))
    np.testing.assert_array_equal(again["rows"], state["rows"])
    np.testing.assert_array_equal(again["flat"], state["flat"])
