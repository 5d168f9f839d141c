"""pandas: tables, series and indexes, column by column; also of strings, categories, missing values and time zones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from pandas.tseries.frequencies import to_offset

from ...records import Node, Object
from .._fit import Fit, Make
from .._walk import Walk
from .values import Value

_NULLABLE = (pd.arrays.BooleanArray, pd.arrays.FloatingArray, pd.arrays.IntegerArray)
_HINT = "Turn it into numbers, strings, categories, or dates."


class _Pandas(Value):
    """As another `Value`: where no live one is filled, a new one takes its place."""

    def __init__(self, kind: type) -> None:
        self.name, self._kind = f"pandas.{kind.__name__}", kind

    def claims(self, kind: type) -> bool:
        return issubclass(kind, self._kind)


class _Array(_Pandas):
    """Columns that are no arrays of NumPy: what their dtype says decides what is kept of them."""

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        dtype = value.dtype

        def child(name: str, part: Any) -> Node:
            return walk.node(part, walk.child(path, name))

        if isinstance(dtype, pd.CategoricalDtype):
            parts = {name: child(name, getattr(value, name)) for name in ("codes", "categories")}
            return Object(self.name, "pandas.Categorical", parts, {"ordered": bool(value.ordered)})
        if isinstance(dtype, pd.StringDtype):
            texts = [text if isinstance(text, str) else None for text in value]
            about = {"storage": dtype.storage, "missing": "NA" if dtype.na_value is pd.NA else "nan"}
            return Object(self.name, "pandas.StringArray", walk.node(texts, path), about)
        if isinstance(dtype, pd.DatetimeTZDtype):
            zone = str(dtype.tz)
            if pd.DatetimeTZDtype(dtype.unit, zone) != dtype:
                walk.refuse(path, f"dates in the time zone {zone}", "Use one that has a name.")
            utc = pd.DatetimeIndex(value).tz_convert("UTC").tz_localize(None).to_numpy()
            return Object(self.name, "pandas.DatetimeArray", walk.node(utc, path), {"zone": zone})
        if isinstance(value, _NULLABLE):
            missing = np.asarray(value.isna())
            kept = value.to_numpy(dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
            parts = {"values": child("values", kept), "missing": child("missing", missing)}
            return Object(self.name, f"pandas.{type(value).__name__}", parts)
        return walk.refuse(path, f"pandas values of dtype {dtype}", _HINT)

    def fresh(self, state: Any, taken: Object) -> Any:
        about = taken.about
        match taken.type:
            case "object":
                return _objects(state)
            case "pandas.Categorical":
                codes, categories = state["codes"], state["categories"]
                return pd.Categorical.from_codes(codes, categories, ordered=about["ordered"])
            case "pandas.StringArray":
                return pd.array(state, dtype=_string_dtype(**about))
            case "pandas.DatetimeArray":
                return pd.DatetimeIndex(state).tz_localize("UTC").tz_convert(about["zone"]).array
            case name:
                (kind,) = (each for each in _NULLABLE if name == f"pandas.{each.__name__}")
                return kind(state["values"], state["missing"])


class _Index(_Pandas):
    """Indexes cannot be changed, so a new one takes the place of the live one."""

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        def child(name: str, part: Any) -> Node:
            return walk.node(part, walk.child(path, name))

        if isinstance(value, pd.MultiIndex):
            parts = {"levels": [*value.levels], "codes": [*value.codes], "names": [*value.names]}
            return Object(
                self.name, "pandas.MultiIndex", {name: child(name, part) for name, part in parts.items()}
            )
        name = child("name", value.name)
        if isinstance(value, pd.RangeIndex):
            bounds = [value.start, value.stop, value.step]
            return Object(self.name, "pandas.RangeIndex", {"name": name}, {"range": bounds})
        freq = getattr(value, "freqstr", None)
        if freq is not None and (isinstance(value, pd.PeriodIndex) or to_offset(freq) != value.freq):
            walk.refuse(path, f"an index of frequency {freq}", _HINT)
        values = _values(value, walk, walk.child(path, "values"))
        return Object(self.name, "pandas.Index", {"name": name, "values": values}, {"freq": freq})

    def fresh(self, state: Any, taken: Object) -> Any:
        if taken.type == "pandas.MultiIndex":
            return pd.MultiIndex(state["levels"], state["codes"], names=state["names"])
        if taken.type == "pandas.RangeIndex":
            return pd.RangeIndex(*taken.about["range"], name=state["name"])
        values, freq = state["values"], taken.about["freq"]
        made = pd.Index(values, dtype=values.dtype, name=state["name"], copy=True, tupleize_cols=False)
        if freq is not None:
            made.freq = freq  # type: ignore[attr-defined]  # pandas checks that it fits
        return made


class _Labelled(_Pandas):
    """What has an index, and is filled in place: it takes over what a new one has."""

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        if fit.object_of(self.name, live, node, path, holds=dict) is None:
            return fit.keep(live)
        make = fit.fresh(node)

        def act() -> Any:
            made: Any = make()
            self._kind.__init__(live, made)  # pyright: ignore[reportCallIssue]
            live.attrs = made.attrs
            return live

        return act

    def claims(self, kind: type) -> bool:
        return kind is self._kind  # a class of somebody else's has more than this

    def _take(self, value: Any, walk: Walk, path: str, parts: dict[str, Node]) -> Node:
        for name in ("index", "attrs"):
            parts[name] = walk.node(getattr(value, name), walk.child(path, name))
        if not value.flags.allows_duplicate_labels:
            walk.refuse(path, f"{self.name} that allows no duplicate labels", "Allow them by set_flags().")
        return Object(self.name, self.name, parts)


class _Series(_Labelled):
    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        name = walk.node(value.name, walk.child(path, "name"))
        values = _values(value, walk, walk.child(path, "values"))
        return self._take(value, walk, path, {"name": name, "values": values})

    def fresh(self, state: Any, taken: Object) -> Any:
        made = _series(state["values"])
        made.index, made.name, made.attrs = state["index"], state["name"], state["attrs"]
        return made


class _Frame(_Labelled):
    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        inside = walk.child(path, "values")
        names = [*value.columns]
        is_named = value.columns.is_unique and all(type(name) is str for name in names)
        # Columns have their names in paths where they can; else they are counted.
        keys = names if is_named else [*range(len(names))]
        columns = {
            key: _values(value.iloc[:, at], walk, walk.child(inside, key)) for at, key in enumerate(keys)
        }
        labels = walk.node(value.columns, walk.child(path, "columns"))
        return self._take(value, walk, path, {"columns": labels, "values": columns})

    def fresh(self, state: Any, taken: Object) -> Any:
        columns = {at: _series(each) for at, each in enumerate(state["values"].values())}
        made = pd.DataFrame(columns, index=range(len(state["index"])))
        made.index, made.columns, made.attrs = state["index"], state["columns"], state["attrs"]
        return made


def _values(held: Any, walk: Walk, path: str) -> Node:
    """The values of a series or an index."""
    if not isinstance(held.dtype, np.dtype):
        return walk.node(held.array, path)
    values = held.to_numpy()
    if values.dtype != object:
        return walk.node(values, path)
    return Object("pandas.ExtensionArray", "object", walk.node([*values], path))


def _series(values: Any) -> pd.Series:
    """A series with values of its own: arrays of a checkpoint may be tied to others."""
    return pd.Series(values, dtype=values.dtype, copy=True)


def _objects(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def _string_dtype(storage: str, missing: str) -> pd.StringDtype:
    if missing == "NA":
        return pd.StringDtype(storage)
    try:
        return pd.StringDtype(storage, na_value=np.nan)
    except TypeError:  # pandas 2.2 has one name for both
        return pd.StringDtype("pyarrow_numpy")


class _Time(_Pandas):
    """A moment or a duration, which pandas takes out of its columns; of a moment the zone by its name."""

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        zone = getattr(value, "tz", None)
        count = int(value.asm8.astype(np.int64))
        if zone is not None and not _has_name(zone):
            walk.refuse(path, f"a moment in the time zone {zone}", "Use one that has a name.")
        return Object(self.name, self.name, walk.node([count, value.unit, zone and str(zone)], path))

    def fresh(self, state: Any, taken: Object) -> Any:
        count, unit, zone = state
        if self._kind is pd.Timedelta:
            return pd.Timedelta(np.timedelta64(count, unit))
        made = pd.Timestamp(np.datetime64(count, unit))
        return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _has_name(zone: Any) -> bool:
    try:
        return pd.DatetimeTZDtype("ns", str(zone)).tz == zone
    except (TypeError, ValueError, LookupError):
        return False


ADAPTERS = (
    *(_Frame(pd.DataFrame), _Series(pd.Series), _Index(pd.Index), _Array(ExtensionArray)),
    *(_Time(pd.Timestamp), _Time(pd.Timedelta)),
)
