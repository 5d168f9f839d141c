"""Tables, series and indexes of pandas come back as what they were, into a live one and without one."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest

import holdfast
from holdfast.errors import StateMismatchError, UnsupportedStateError

pd = pytest.importorskip("pandas")

DATES = pd.date_range("2024-01-30", periods=4, freq="ME", name="month")
COLUMNS = {
    "float32": np.array([1.5, np.nan, -0.0, 2], "float32"),
    "bool": [True, False, True, True],
    "complex": np.arange(4) * 1j,
    "dates": np.array(["2024-01-01T01:02:03", "NaT", "1969-01-01", "2024-01-01"], "datetime64[ms]"),
    "spans": pd.to_timedelta([1, 2, 3, 4], unit="s"),
    "zoned": pd.date_range("2024-03-30", periods=4, freq="12h", tz="Europe/Berlin"),
    "offset": pd.date_range("2024-03-30", periods=4, tz="+02:00"),
    "strings": pd.array(["a", None, "", "ü\n"], dtype="string"),
    "category": pd.Categorical(["b", "a", None, "b"], ["b", "a", "c"], ordered=True),
    "dated category": pd.Categorical(DATES),
    "Int8": pd.array([1, None, -3, 4], dtype="Int8"),
    "Float32": pd.array([1, None, 0.5, 4], dtype="Float32"),
    "boolean": pd.array([True, None, False, True], dtype="boolean"),
    "objects": pd.Series([1, "a", None, (2, Decimal("0.1"))], dtype=object),
}
TABLE = pd.DataFrame(COLUMNS)
INDEXES = {
    "range": pd.RangeIndex(2, 10, 2, name="n"),
    "numbers": pd.Index([1, 1, 3], dtype="int16", name=("a", 1)),
    "names": pd.Index(["a", "b", "a"]),
    "tuples": pd.Index([("a", 1), ("b", 2)], tupleize_cols=False),
    "dates": DATES,
    "spans": pd.timedelta_range("1h", periods=3, freq="h"),
    "zoned": pd.date_range("2024-03-30", periods=3, freq="D", tz="UTC"),
    "categories": pd.CategoricalIndex(["a", "b", "a"]),
    "levels": pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", None]),
    "empty": pd.Index([]),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_series(tmp_path, column):
    value = TABLE[column].rename(("name", 1))
    value.attrs = {"unit": "m"}
    place = holdfast.save(tmp_path / "s", {"s": value, "list": [value, value]})
    live = pd.Series([0.0])
    for found in (
        holdfast.load(place)["s"],
        holdfast.load(place)["list"][1],
        holdfast.load(place, into={"s": live, "list": [live]}).value["s"],
    ):
        pd.testing.assert_series_equal(found, value, check_exact=True, check_flags=True)
        assert type(found.array) is type(value.array)
        assert found.attrs == value.attrs


def test_a_table_is_filled_in_place(tmp_path):
    value = TABLE.set_index(pd.MultiIndex.from_product([["a", "b"], [1, 2]]))
    place = holdfast.save(tmp_path / "t", {"t": value})
    live = pd.DataFrame({"other": [1]}, index=["x"])
    holdfast.load(place, into={"t": live})
    for found in (live, holdfast.load(place)["t"]):
        pd.testing.assert_frame_equal(found, value, check_exact=True, check_column_type=True)
    live.iloc[0, 0] = 9  # it owns its values
    pd.testing.assert_frame_equal(holdfast.load(place)["t"], value)
    assert live["float32"].iloc[0] == 9


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame({"a": []}),
        pd.DataFrame(np.arange(6).reshape(2, 3), columns=["a", "a", "b"], index=[0, 0]),
        pd.DataFrame(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        pd.DataFrame({1: [1], "x": ["a"], None: [0.5]}),
    ],
)
def test_odd_tables(tmp_path, table):
    place = holdfast.save(tmp_path / "t", {"t": table})
    pd.testing.assert_frame_equal(
        holdfast.load(place)["t"], table, check_index_type="exact", check_column_type="exact"
    )


@pytest.mark.parametrize("name", INDEXES)
def test_indexes(tmp_path, name):
    value = INDEXES[name]
    place = holdfast.save(tmp_path / "i", {"i": value})
    state = {"i": pd.Index([1])}
    holdfast.load(place, into=state)
    for found in (state["i"], holdfast.load(place)["i"]):
        pd.testing.assert_index_equal(found, value, exact=True)
        assert type(found) is type(value)
        assert getattr(found, "freq", None) == getattr(value, "freq", None)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (pd.period_range("2024", periods=2, freq="M"), "period"),
        (pd.interval_range(0, 2), "interval"),
        (pd.array([1, 0], dtype=pd.SparseDtype(int)), "Sparse"),
        (pd.Series([object()], dtype=object), "builtins.object"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(values, what):
    with pytest.raises(UnsupportedStateError, match=f"(?i)t/values/x.*{what}"):
        holdfast.capture({"t": pd.DataFrame({"x": values})})


def test_indexes_of_periods_are_refused():
    with pytest.raises(UnsupportedStateError, match="frequency M"):
        holdfast.capture({"i": pd.period_range("2024", periods=2, freq="M")})


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2020-01-01 10:00:00.123456789"),
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert("Europe/Paris"),  # an hour that comes twice
        pd.Timestamp("2020").as_unit("s"),
        pd.Timedelta("1D 2ns"),
    ],
)
def test_moments_and_durations_keep_their_unit_and_zone(value, tmp_path):
    place = holdfast.save(tmp_path / "one", {"value": value})
    live = {"value": type(value)(0)}
    holdfast.load(place, into=live)
    for found in (holdfast.load(place)["value"], live["value"]):
        assert (found, type(found), found.unit) == (value, type(value), value.unit)
        assert getattr(found, "tz", None) == getattr(value, "tz", None)


def test_a_moment_in_a_zone_without_a_name_is_refused():
    zone = datetime.timezone(datetime.timedelta(minutes=7), "office")
    with pytest.raises(UnsupportedStateError, match="time zone"):
        holdfast.capture({"value": pd.Timestamp("2020", tz=zone)})


def test_something_else_does_not_fit(tmp_path):
    place = holdfast.save(tmp_path / "t", {"t": TABLE})
    live = pd.Series([1])
    with pytest.raises(StateMismatchError, match=r"pandas\.DataFrame was saved"):
        holdfast.load(place, into={"t": live})
    assert live.tolist() == [1]


def digest(value):
    return holdfast.state.digest(holdfast.capture({"t": value}))


def test_every_difference_counts():
    ways = [
        TABLE,
        TABLE.assign(bool=[True, True, True, True]),
        TABLE.assign(bool=TABLE["bool"].astype(object)),
        TABLE.rename(columns={"bool": "b"}),
        TABLE[[*reversed(TABLE.columns)]],
        TABLE.set_index(pd.RangeIndex(1, 5)),
        TABLE.set_index(pd.Index(list("wxyz"))),
        TABLE.assign(category=TABLE["category"].cat.as_unordered()),
    ]
    assert len({digest(way) for way in ways}) == len(ways)
    assert digest(TABLE) == digest(TABLE.copy())


def test_pandas_is_not_imported_for_a_state_without_it():
    code = (
        "import sys, holdfast, numpy as np; holdfast.capture({'a': np.zeros(2)}); "
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
