"""Plain Python data comes back as it was, to the bit and to the type."""

import enum
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.records import Leaf
from holdfast.state import capture, digest, entries, find, rebuild, restore

keys = st.one_of(
    st.text(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.binary(max_size=8),
    st.tuples(st.integers(), st.text()),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**40), max_value=10**40),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(max_size=2000),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-3)))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.text("abc/.", min_size=1).map(Path),
)
plain = st.recursive(
    scalars | st.sets(st.integers() | st.text()) | st.frozensets(st.tuples(st.integers(), st.binary())),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value and type all the way down; NaN equals NaN and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


class Colour(enum.Enum):
    RED = "red"
    GREEN = ("g", 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Progress:
    epoch: int
    losses: list[float] = field(default_factory=list)
    best: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    epoch: int
    colour: Colour


Point = namedtuple("Point", "x y")


@settings(max_examples=150)
@given(plain)
def test_plain_data_is_rebuilt_to_the_bit_and_to_the_type(value):
    assert same(rebuild(capture(value)), value)


@settings(max_examples=80)
@given(plain, plain)
def test_plain_data_is_replaced_by_what_was_saved_whatever_stood_there(saved, live):
    into = {"value": live}
    restored = restore(capture({"value": saved}), into).value
    assert restored is into
    assert digest(capture(restored)) == digest(capture({"value": saved}))


@settings(max_examples=80)
@given(plain, plain)
def test_digests_are_equal_exactly_for_equal_data(one, other):
    assert digest(capture(one)) == digest(capture(rebuild(capture(one))))
    if digest(capture(one)) == digest(capture(other)):
        assert digest(capture([one])) == digest(capture([other]))
        assert type(one) is type(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1, True),
        (1, 1.0),
        ([1], (1,)),
        ({1, 2}, frozenset({1, 2})),
        ("a", b"a"),
        ({"a": 1}, {"b": 1}),
        ([[1], 2], [1, [2]]),
        ({1: 0}, {"1": 0}),
        (np.zeros(2), np.zeros(2, "f4")),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (b"\0" * 1024, np.zeros(1024, "u1")),
    ],
)
def test_values_that_differ_have_different_digests(one, other):
    assert digest(capture(one)) != digest(capture(other))


def test_the_order_of_entries_is_kept_but_is_no_part_of_the_digest():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert digest(capture(one)) == digest(capture(other))
    restored = restore(capture({"d": other}), {"d": one}).value
    assert list(restored["d"]) == ["b", "a"]


def test_integers_of_any_size_come_back():
    huge = 7**20_000
    assert rebuild(capture({"n": huge}))["n"] == huge
    assert digest(capture(huge)) != digest(capture(huge + 1))


def test_nan_keeps_its_bits_and_infinities_their_sign():
    state = rebuild(capture([math.nan, math.inf, -math.inf, -0.0]))
    assert repr(state) == "[nan, inf, -inf, -0.0]"


def test_long_bytes_become_a_leaf_and_short_ones_stay_inline():
    tree = capture({"short": b"x" * 1023, "long": b"x" * 1024}).tree
    assert tree["short"] == b"x" * 1023
    assert tree["long"] == Leaf("long", "uint8", (1024,), "C", "bytes")


def test_live_containers_stay_the_same_objects_and_keep_their_type():
    live = {
        "history": [1],
        "count": Counter(a=1),
        "order": OrderedDict(x=1),
        "table": defaultdict(list),
        "window": deque([0], maxlen=3),
        "seen": {1},
    }
    before = {name: id(value) for name, value in live.items()}
    saved = {
        "history": [1, 2, 3],
        "count": Counter(a=5, b=2),
        "order": OrderedDict(y=2, x=1),
        "table": defaultdict(list, k=[1]),
        "window": deque([1, 2, 3], maxlen=3),
        "seen": {2, 3},
    }
    value = restore(capture(saved), live).value
    assert value == saved
    assert {name: id(entry) for name, entry in value.items()} == before
    assert list(value["order"]) == ["y", "x"]
    assert value["table"]["new"] == []
    value["window"].append(4)
    assert list(value["window"]) == [2, 3, 4]


def test_a_named_tuple_keeps_its_live_type():
    assert restore(capture({"p": Point(1, 2)}), {"p": Point(0, 0)}).value["p"] == Point(1, 2)
    assert type(restore(capture({"p": Point(1, 2)}), {"p": Point(0, 0)}).value["p"]) is Point
    assert rebuild(capture(Point(1, 2))) == (1, 2)


def test_enum_members_come_back_by_value():
    saved = capture({"colour": Colour.GREEN, "level": Level.HIGH})
    assert restore(saved, {"colour": Colour.RED, "level": Level.LOW}).value == {
        "colour": Colour.GREEN,
        "level": Level.HIGH,
    }
    assert rebuild(saved) == {"colour": ("g", 2), "level": 2}


def test_a_dataclass_is_filled_in_place_and_a_frozen_one_made_anew():
    best = np.zeros(2)
    live = {"p": Progress(0, [], best), "f": (old := Frozen(0, Colour.RED))}
    progress = live["p"]
    value = restore(capture({"p": Progress(3, [0.5], np.ones(2)), "f": Frozen(9, Colour.GREEN)}), live).value
    assert value["p"] is progress
    assert (progress.epoch, progress.losses) == (3, [0.5])
    assert progress.best is best
    assert best.tolist() == [1, 1]
    assert value["f"] == Frozen(9, Colour.GREEN)
    assert old == Frozen(0, Colour.RED)


def test_every_entry_can_be_found_by_the_path_that_is_shown_for_it():
    value = {"a/b": [1, {"": 2, 3: 4, (1, "x"): 5}], "p": Progress(1, [2.0]), "%": {True: None}}
    tree = capture(value).tree
    shown = list(entries(tree))
    assert len({path for path, _ in shown}) == len(shown)
    for path, node in shown:
        assert find(tree, path) == node
    assert find(tree, "a%2Fb/1/%i:3") == 4
    assert find(tree, "p/losses/0") == 2.0
    with pytest.raises(KeyError, match="nowhere"):
        find(tree, "nowhere")


def test_dates_and_times_are_kept():
    value = [datetime(2024, 2, 29, 1, 2, 3, 4, UTC), date(1, 1, 1), time(23, 59), timedelta(-1, 2, 3)]
    assert rebuild(capture(value)) == value
