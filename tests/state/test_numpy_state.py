"""NumPy arrays, scalars and generators come back bit for bit, as do Python's random generators."""

import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from holdfast.errors import StateMismatchError, UnsupportedStateError
from holdfast.records import Alias
from holdfast.state import capture, digest, rebuild, restore

dtypes = st.one_of(
    nps.scalar_dtypes(),
    nps.array_dtypes(nps.scalar_dtypes(), min_size=1, max_size=4),
    st.sampled_from([np.dtype("V7"), np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e5m2)]),
    st.just(np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [0, 8]})),
    st.just(np.dtype([("m", ">i4", (2, 3)), ("in", [("t", "M8[ns]")])])),
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(dtypes)
    shape = draw(nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    data = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8).copy()
    array = data.view(dtype).reshape(shape) if size else np.zeros(shape, dtype)
    match draw(st.sampled_from(["C", "F", "strided", "reversed"])):
        case "F":
            return np.asfortranarray(array)
        case "strided" if array.ndim:
            return array[::2]
        case "reversed" if array.ndim:
            return array[::-1]
    return array


def raw(array: np.ndarray) -> bytes:
    """Bytes of the fields; what lies between them is nobody's."""
    if array.dtype.names is None:
        return array.tobytes()
    return b"".join(raw(array[name]) for name in array.dtype.names)


@pytest.mark.medium
@settings(max_examples=300)
@given(arrays())
def test_an_array_is_rebuilt_with_its_bytes_dtype_and_memory_order(array):
    again = rebuild(capture({"x": array}))["x"]
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert raw(again) == raw(array)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        assert again.flags.c_contiguous == array.flags.c_contiguous
        assert again.flags.f_contiguous == array.flags.f_contiguous


@pytest.mark.medium
@settings(max_examples=200)
@given(arrays(), st.sampled_from(["C", "F", "strided"]))
def test_a_live_array_of_any_memory_order_is_filled_in_place(array, order):
    if order == "strided":
        live = np.zeros((*array.shape, 2), array.dtype)[..., 0]
    else:
        live = np.zeros(array.shape, array.dtype, order)
    assert restore(capture({"x": array}), {"x": live}).value["x"] is live
    assert raw(live) == raw(array)
    assert digest(capture(live)) == digest(capture(array)) or array.dtype.names is not None


@pytest.mark.parametrize(
    "scalar",
    [np.float64(0.1), np.int8(-3), np.bool_(True), np.datetime64("2024-01-01", "D"), np.str_("é"), np.str_(""),
     np.bytes_(b"ab"), np.complex64(1 - 2j), np.longdouble("0.1"), np.float16("nan"), ml_dtypes.bfloat16(1.5)],
)  # fmt: skip
def test_a_scalar_comes_back_as_a_numpy_scalar(scalar):
    again = rebuild(capture([scalar]))[0]
    assert type(again) is type(scalar)
    meant = 10 if isinstance(scalar, np.longdouble) and np.finfo(scalar).nmant == 63 else None
    assert np.asarray(again).tobytes()[:meant] == np.asarray(scalar).tobytes()[:meant]  # the rest is padding


def test_arrays_that_share_memory_stay_tied_and_equal_ones_stay_apart():
    array = np.arange(4.0)
    snapshot = capture({"a": array, "b": array, "c": array.copy(), "d": array[:2]})
    assert snapshot.tree["b"] == Alias("a")
    assert snapshot.size_bytes == 32 + 32 + 16
    again = rebuild(snapshot)
    assert again["a"] is again["b"]
    assert again["a"] is not again["c"]


def test_tied_arrays_fill_untied_ones_both():
    array = np.arange(4.0)
    live = {"a": np.zeros(4), "b": np.zeros(4)}
    restore(capture({"a": array, "b": array}), live)
    assert live["a"].tolist() == live["b"].tolist() == [0, 1, 2, 3]


def test_live_tied_arrays_take_two_saved_ones_only_if_these_are_equal():
    live = np.zeros(4)
    restore(capture({"a": np.ones(4), "b": np.ones(4)}), {"a": live, "b": live})
    assert live.tolist() == [1, 1, 1, 1]
    with pytest.raises(StateMismatchError, match="b: the live array is tied to 'a'"):
        restore(capture({"a": np.zeros(4), "b": np.ones(4)}), {"a": live, "b": live})
    assert live.tolist() == [1, 1, 1, 1]


def test_a_slice_of_a_large_array_saves_only_its_own_bytes():
    assert capture({"x": np.zeros(1_000_000)[10:20]}).size_bytes == 80


def test_a_read_only_live_array_is_a_problem():
    live = np.zeros(3)
    live.flags.writeable = False
    with pytest.raises(StateMismatchError, match="x: the live array is read-only"):
        restore(capture({"x": np.ones(3)}), {"x": live})


def test_records_that_hold_objects_have_no_bytes_of_their_own_and_are_refused_by_path():
    with pytest.raises(UnsupportedStateError) as caught:
        capture({"data": [0, np.zeros(2, [("a", "O")])]})
    assert caught.value.path == "data/1"


def numpy_generators() -> list[Any]:
    bits = [np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64]
    return [*(np.random.Generator(kind(5)) for kind in bits), np.random.RandomState(5)]


@pytest.mark.parametrize("index", range(6))
def test_a_numpy_generator_resumes_with_the_same_draws(index):
    generator, fresh = numpy_generators()[index], numpy_generators()[index]
    draw = getattr(generator, "integers", None) or generator.randint
    generator.standard_normal(3)
    draw(10, dtype=np.uint32)  # half of a 64-bit draw stays in the buffer
    snapshot = capture({"rng": generator})
    expected = generator.standard_normal(5).tolist()
    assert restore(snapshot, {"rng": fresh}).value["rng"] is fresh
    assert fresh.standard_normal(5).tolist() == expected
    assert rebuild(snapshot)["rng"].standard_normal(5).tolist() == expected


def test_a_generator_of_another_algorithm_is_a_problem():
    with pytest.raises(StateMismatchError, match="rng: PCG64 was saved, the live generator is Philox"):
        restore(capture({"rng": np.random.default_rng(0)}), {"rng": np.random.Generator(np.random.Philox(0))})


def test_a_python_generator_resumes_with_the_same_draws():
    generator, fresh = random.Random(1), random.Random(2)
    generator.gauss(0, 1)  # the second of the pair is waiting
    snapshot = capture({"rng": generator})
    expected = [generator.gauss(0, 1), generator.random()]
    restore(snapshot, {"rng": fresh})
    assert [fresh.gauss(0, 1), fresh.random()] == expected
    again = rebuild(snapshot)["rng"]
    assert [again.gauss(0, 1), again.random()] == expected


def test_a_snapshot_is_independent_of_its_source_and_read_only():
    array = np.arange(3)
    snapshot = capture({"x": array})
    array[:] = 9
    data = snapshot.piece(snapshot.tree["x"], 0, array.nbytes)
    assert rebuild(snapshot)["x"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1
