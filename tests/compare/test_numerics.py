"""Every element type in float64 and back, as `ml_dtypes` and NumPy do it, without needing the former."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from holdfast import numerics

EIGHT_BITS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
RARE = ["float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"]
SMALL_INTEGERS = ["int1", "int2", "int4", "uint1", "uint2", "uint4"]
NARROWED = ["bfloat16", *EIGHT_BITS[:4], *RARE, "float16", "float32", "float64", ">f4"]
BITS = {"float6_e2m3fn": 6, "float6_e3m2fn": 6, "float4_e2m1fn": 4}
BITS |= {name: int(name[-1]) for name in SMALL_INTEGERS}


def oracle(dtype: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, dtype)) if hasattr(ml_dtypes, dtype) else np.dtype(dtype)


def every_item(dtype: str) -> np.ndarray:
    size = oracle(dtype).itemsize
    return np.arange(2 ** BITS.get(dtype, 8 * size), dtype=f"u{size}").view(oracle(dtype))


@pytest.mark.parametrize(
    "dtype", [*EIGHT_BITS, *RARE, *SMALL_INTEGERS, "bfloat16", "float16", "int8", "uint16"]
)
def test_every_single_item_of_a_small_type_is_widened_to_its_value(dtype):
    items = every_item(dtype)
    with np.errstate(all="ignore"):
        expected = items.astype(np.float64)
    np.testing.assert_array_equal(numerics.widen(items.view(np.uint8), dtype), expected)


def test_a_byte_of_four_bit_floats_is_two_values():
    low, high = numerics.widen(np.array([0x7F], np.uint8), "float4_e2m1fn_x2")
    codes = np.array([0xF, 0x7], np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    assert [low, high] == list(codes) == [-6.0, 6.0]


@pytest.mark.parametrize("dtype", NARROWED)
def test_narrowing_rounds_once_to_the_nearest(dtype):
    draw = np.random.default_rng(0)
    values = draw.normal(size=20_000) * 2.0 ** draw.integers(-12, 7, size=20_000)
    kind = oracle(dtype)
    largest = 1e30
    if kind.itemsize <= 2:
        with np.errstate(all="ignore"):
            every = np.unique(numerics.widen(every_item(dtype).view(np.uint8), dtype))
        finite = every[np.isfinite(every)]
        largest = finite.max()
    values = np.concatenate([np.clip(values, -largest, largest), [0.0, -0.0, 1.0, largest, -largest]])
    got = numerics.widen(numerics.narrow(values, dtype), dtype)
    if kind.itemsize > 2:
        np.testing.assert_array_equal(got, values.astype(kind).astype(np.float64))
        return
    above = np.clip(np.searchsorted(finite, values), 1, len(finite) - 1)
    nearest = np.minimum(np.abs(values - finite[above - 1]), np.abs(values - finite[above]))
    np.testing.assert_array_equal(np.abs(got - values), nearest)


@pytest.mark.parametrize("dtype", ["bfloat16", *EIGHT_BITS[:4], *RARE, "float16"])
def test_what_is_narrow_already_comes_back_to_the_bit_and_halves_go_to_even(dtype):
    items = every_item(dtype)
    wide = numerics.widen(items.view(np.uint8), dtype)
    finite = np.isfinite(wide)
    back = numerics.narrow(wide, dtype).view(items.dtype)
    np.testing.assert_array_equal(back[finite].view(np.uint8), items[finite].view(np.uint8))
    with np.errstate(all="ignore"):
        assert np.isnan(back[np.isnan(wide)].astype(np.float64)).all()
    ordered = np.sort(wide[finite & (wide >= 0)])
    ordered = np.unique(ordered)
    halves = (ordered[:-1] + ordered[1:]) / 2
    codes = numerics.narrow(halves, dtype).view(f"u{items.itemsize}")
    assert not (codes & 1).any()


def test_a_bfloat16_is_not_rounded_twice():
    just_above_half = 1 + 2**-8 + 2**-40  # float32 would make it the half, which goes to even: down
    assert (
        numerics.widen(numerics.narrow(np.array([just_above_half]), "bfloat16"), "bfloat16")[0] == 1 + 2**-7
    )


def test_complex_numbers_keep_both_parts():
    values = np.array([1 + 2j, -0.5j])
    for dtype in ("complex32", "complex64", "complex128"):
        np.testing.assert_array_equal(numerics.widen(numerics.narrow(values, dtype), dtype), values)


def test_what_is_a_number_is_known_by_name():
    assert all(map(numerics.is_number, ["bool", "int64", "bfloat16", ">f8", "complex32", *EIGHT_BITS, *RARE]))
    assert all(map(numerics.is_number, SMALL_INTEGERS))
    assert not any(map(numerics.is_number, ["<U5", "<M8[ns]", '[["a","<f4"]]', "|V3"]))
    assert numerics.is_floating("float8_e5m2")
    assert not any(map(numerics.is_floating, ["int64", "bool", "<U5", "float8_e8m0fnu", *SMALL_INTEGERS]))
