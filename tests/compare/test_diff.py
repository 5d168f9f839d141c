"""`holdfast.diff` says what differs, exactly, and reads no more than it must."""

from __future__ import annotations

import enum
from decimal import Decimal
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import holdfast
from holdfast import bundle
from holdfast.compare import ABSENT, ArrayChange, _arrays
from holdfast.errors import CheckpointNotFoundError, PieceDamagedError
from holdfast.records import leaves
from holdfast.storage import LocalDisk
from tests.support import peak_memory


def change_of(save, old, new) -> ArrayChange:
    found = holdfast.diff(save("a", {"w": old}), save("b", {"w": new}))
    [change] = found.arrays
    assert found.same_state == change.is_same
    return change


def test_a_checkpoint_and_itself_are_the_same_to_the_bit(save):
    place = save(
        "a", {"w": np.arange(10.0), "nan": float("nan"), "z": -0.0, "set": {1, 2}, "b": b"x", "c": 1j}
    )
    found = holdfast.diff(place, place)
    assert found.same_state
    assert found.facts == ()
    assert [change.is_read for change in found.arrays] == [False]


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e3m4",
        "float4_e2m1fn",
        "uint4",
        "int8",
        "uint64",
        ">f4",
        "bool",
    ],
)
def test_changes_of_every_number_type_are_measured_in_float64(save, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    old = np.array([0, 1, 1, 0, 1, 0, 0, 1], kind)
    new = np.array([0, 1, 0, 1, 1, 0, 0, 1], kind)
    change = change_of(save, old, new)
    assert (change.size, change.changed, change.share) == (8, 2, 0.25)
    assert change.relative == pytest.approx(np.sqrt(2) / 2, rel=1e-15)
    assert change.largest == 1.0
    assert change.nans == change.infs == (0, 0)


def test_complex_numbers_change_by_their_modulus(save):
    change = change_of(save, np.array([3 + 4j, 0j]), np.array([0j, 0j]))
    assert (change.relative, change.largest, change.changed) == (1.0, 5.0, 1)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (np.array(["a", "bc"]), np.array(["a", "bd"]), 1),
        (np.array(["2026-01-01", "NaT"], "M8[D]"), np.array(["2026-01-02", "NaT"], "M8[D]"), 1),
        (np.array([(1, 2.0)], "i4,f8"), np.array([(1, 3.0)], "i4,f8"), 1),
    ],
)
def test_what_is_no_number_is_the_same_or_not(save, old, new, changed):
    change = change_of(save, old, new)
    assert (change.changed, change.relative, change.largest) == (changed, None, None)


def test_nan_and_infinity_are_counted_and_spoil_no_sum(save):
    change = change_of(
        save, np.array([1.0, 2.0, np.nan, np.inf, 5.0]), np.array([1.0, 3.0, np.nan, np.nan, -np.inf])
    )
    assert (change.nans, change.infs) == ((1, 2), (1, 1))
    assert (change.largest, change.changed) == (1.0, 3)
    assert change.relative == pytest.approx(1 / np.sqrt(5))


def test_neither_huge_nor_tiny_numbers_are_lost_in_squares(save):
    assert change_of(save, np.full(4, 1e200), np.full(4, 2e200)).relative == pytest.approx(1.0)
    assert change_of(save, np.full(4, 1e-200), np.full(4, 2e-200)).relative == pytest.approx(1.0)
    assert change_of(save, np.zeros(3), np.full(3, 1e-320)).relative == np.inf
    assert change_of(save, np.array([2**62]), np.array([2**62 + 1])).largest == 1.0
    assert change_of(save, np.array([-(2**63)]), np.array([2**63 - 1])).largest == float(2**64 - 1)


def test_zeros_of_another_sign_are_other_bits(save):
    change = change_of(save, np.zeros(4), np.array([0.0, -0.0, 0.0, 0.0]))
    assert (change.changed, change.largest, change.relative, change.is_same) == (1, 0.0, 0.0, False)


def test_other_dtypes_are_compared_by_value_and_other_shapes_only_named(save):
    old = np.linspace(0, 1, 1_200_000, dtype=np.float32)  # pieces of both are cut at other items
    change = change_of(save, old, old.astype(np.float64))
    assert (change.changed, change.relative, change.is_same) == (0, 0.0, False)
    assert change.dtypes == ("float32", "float64")
    half = change_of(save, old, old.astype(np.float16))
    assert half.largest == np.abs(old.astype(np.float16).astype(np.float64) - old).max()
    assert change_of(save, np.zeros((2, 3)), np.zeros((3, 2))).changed is None


@pytest.mark.parametrize("shape", [(40, 30), (5, 4, 3)])
def test_another_memory_order_finds_the_same_partners(save, shape):
    old = np.random.default_rng(0).normal(size=shape)
    change = change_of(save, old, np.asfortranarray(old))
    assert (change.changed, change.relative) == (0, 0.0)
    moved = np.asfortranarray(old)
    moved[1, 2] += 1
    assert change_of(save, old, moved).changed == old[1, 2].size


@settings(max_examples=30)
@given(
    arrays.arrays(np.float32, 50, elements=st.floats(width=32)),
    arrays.arrays(np.float32, 50, elements=st.floats(width=32)),
)
def test_streamed_sums_are_those_of_the_entire_array(old, new):
    tally = _arrays._Numbers("float32", "float32")
    for start in range(0, 50, 7):
        tally.add(old[start : start + 7].view(np.uint8), new[start : start + 7].view(np.uint8))
    change = _arrays.ArrayChange("w", ("float32", "float32"), ((50,), (50,)), 50, **tally.found())
    both = np.isfinite(old) & np.isfinite(new)
    x, y = old[both].astype(np.float64), new[both].astype(np.float64)
    assert change.changed == np.count_nonzero(old.view(np.uint32) != new.view(np.uint32))
    assert change.largest == np.abs(y - x).max(initial=0)
    if np.linalg.norm(x):
        assert change.relative == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-12)
    assert change.nans == (np.isnan(old).sum(), np.isnan(new).sum())


def test_pieces_with_equal_digests_are_not_read_again(save, monkeypatch):
    old = np.arange(2_100_000, dtype=np.float32)  # three pieces
    new = old.copy()
    new[-1] += 8
    a, b = save("a", {"w": old, "frozen": old[::2].copy()}), save("b", {"w": new, "frozen": old[::2].copy()})
    read: list[str] = []
    original = bundle.Bundle.read_piece

    def counted(self, leaf, piece, out):
        read.append(f"{Path(self.path).name[0]} {leaf.path} {piece.start >> 22}")
        original(self, leaf, piece, out)

    monkeypatch.setattr(bundle.Bundle, "read_piece", counted)
    found = holdfast.diff(a, b)
    assert read == ["a w 0", "a w 1", "a w 2", "b w 2"]
    assert [change.path for change in found.arrays] == ["w", "frozen"]
    assert (found.arrays[0].changed, found.arrays[0].largest) == (1, 8.0)
    assert found.arrays[0].relative == pytest.approx(8 / np.linalg.norm(old.astype(np.float64)))


def test_structure_values_and_facts_that_differ_are_named(save):
    weight = np.ones(3)
    old = {"w": weight, "tied": weight, "lr": 0.1, "gone": np.zeros(2), "kind": 1, "list": [1, 2]}
    new = {"w": weight, "tied": np.ones(3), "lr": 0.01, "come": None, "kind": 1.0, "list": [1, 2, 3]}
    a = save("a", old, metrics={"loss": 1.0, "old": 2.0}, versions={"torch": "2.4"}, commit="c" * 40)
    b = save(
        "b",
        new,
        metrics={"loss": 0.5},
        versions={"torch": "2.5"},
        environment={"gpu": "x"},
        details={"note": [1]},
    )
    found = holdfast.diff(a, b)
    assert [(change.path, change.old, change.new) for change in found.values if change.path != "tied"] == [
        ("lr", 0.1, 0.01),
        ("kind", 1, 1.0),
    ]
    assert "tied" in {change.path for change in found.values}
    assert [entry.path for entry in found.only_in_a] == ["gone"]
    assert [entry.path for entry in found.only_in_b] == ["come", "list/2"]
    facts = {change.path: (change.old, change.new) for change in found.facts}
    assert facts == {
        "moment.epoch": (1, 2),
        "moment.step": (10, 20),
        "commit": ("c" * 40, None),
        "metrics.loss": (1.0, 0.5),
        "metrics.old": (2.0, ABSENT),
        "versions.torch": ("2.4", "2.5"),
        "environment.gpu": (ABSENT, "x"),
        "details.note": (ABSENT, [1]),
    }


def test_what_changed_most_comes_first(save):
    old = {name: np.ones(4) for name in ("same", "little", "much", "sick", "shape")}
    new = old | {"little": np.full(4, 1.01), "much": np.full(4, 9.0), "shape": np.ones(5)}
    new["sick"] = np.array([1, 1, 1, np.nan])
    found = holdfast.diff(save("a", old), save("b", new))
    assert [change.path for change in found.arrays] == ["shape", "sick", "much", "little", "same"]
    assert [change.path for change in found.changed] == ["shape", "sick", "much", "little"]


def test_places_listed_and_opened_ones_can_be_compared(save):
    a, b = save("a", {"x": 1}), save("b", {"x": 2})
    listed = holdfast.scan(Path(a).parent)
    with holdfast.open(a) as opened:
        assert holdfast.diff(opened, listed[1]).values == holdfast.diff(a, b).values != ()
        assert opened["x"] == 1  # it stays open
    with pytest.raises(CheckpointNotFoundError):
        holdfast.diff(a, "nowhere.ckpt.mml")


def test_damage_is_an_error_never_a_difference(save):
    a, b = save("a", {"w": np.zeros(100)}), save("b", {"w": np.ones(100)})
    with bundle.Bundle(LocalDisk(), b) as opened:
        [leaf] = leaves(opened.tree)
        place = opened.stored.pieces[leaf.path][0]
        start, _ = opened._packs.spans(place.file)[place.key]
    with open(f"{b}/{place.file}", "r+b") as file:
        file.seek(start)
        file.write(b"\x01")
    with pytest.raises(PieceDamagedError, match="leaf 'w'"):
        holdfast.diff(a, b)


@pytest.mark.slow
def test_two_states_of_200_mb_are_compared_in_less_than_64_mib(save):
    draw = np.random.default_rng(0)
    old = {"half": draw.integers(0, 30_000, 50_000_000, dtype=np.uint16).view(np.float16)}
    old["single"] = np.resize(draw.normal(size=1_000_003).astype(np.float32), 25_000_000)
    a = save("a", old)
    old["half"][::1000] = 0
    old["single"] += np.float32(0.5)
    b = save("b", old)
    grown, single, half = peak_memory.run(
        "import holdfast, holdfast.compare\n"
        "before = peak_bytes(); found = holdfast.diff(*sys.argv[1:])\n"
        "print(peak_bytes() - before, *(change.changed for change in found.arrays))",
        *(a, b),
    )
    assert 0 < grown < 64 << 20
    assert single == 25_000_000
    assert 49_000 < half <= 50_000


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


def test_what_differs_in_objects_that_are_one_value_or_one_array_is_told(save):
    def state(mode, number, fill, start):
        made = {"mode": mode, "number": Decimal(number), "net": {"rng": torch.Generator().manual_seed(start)}}
        return made | {"masked": np.ma.MaskedArray([fill, 2.0], [0, 1])}

    place = save("a", state(Mode.FAST, 1, 1.0, 1))
    found = holdfast.diff(place, save("b", state(Mode.EXACT, 2, 3.0, 2)))
    assert set(found.differing) == {"mode", "number", "net/rng/state", "masked/data"}
    assert not found.same_state
    assert holdfast.diff(place, save("c", state(Mode.FAST, 1, 1.0, 1))).same_state
    assert {each.path: (each.old.state, each.new.state) for each in found.values} == {
        "mode": (1, 2),
        "number": ("1", "2"),
    }
