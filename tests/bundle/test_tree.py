"""Every kind of value comes back from a bundle as it was, to the bit; anything malformed is refused by name."""

from __future__ import annotations

import json
import math
import struct
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast import bundle
from holdfast.bundle._format import strict_json
from holdfast.bundle._format.numbers import decode_float, decode_integer, encode_float, encode_integer
from holdfast.bundle._format.tree import StoredTree, decode_tree
from holdfast.bundle._format.tree_text import encode_tree
from holdfast.errors import CheckpointDamagedError, UsageError
from holdfast.records import Alias, Leaf, Object
from holdfast.storage import MemoryDisk
from tests.support.bundle_cases import load, place, save

any_text = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
any_float = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])


def unfold(moment: Any) -> Any:
    return moment.replace(fold=0)  # which of two equal readings of a clock it was is not kept


hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    any_float,
    st.complex_numbers(allow_nan=True),
    any_text,
    st.binary(max_size=20),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=30))])).map(
        unfold
    ),
    st.dates(),
    st.times().map(unfold),
    st.timedeltas(),
)
keys = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), any_text, st.binary(max_size=9)
)
keys |= st.tuples(keys, keys)
trees = st.recursive(
    hashables | st.sets(hashables, max_size=3) | st.frozensets(hashables, max_size=3),
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.lists(below, max_size=4).map(tuple),
        st.dictionaries(keys, below, max_size=4),
        st.builds(Object, any_text, any_text, below, st.just({}) | st.just({"flag": True, "n": [1, None]})),
    ).filter(lambda node: not (isinstance(node, Object) and has_surrogates(node))),
    max_leaves=12,
)


def has_surrogates(node: Object) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in node.adapter + node.type)


def through_json(tree: Any) -> Any:
    return decode_tree(encode_tree(StoredTree(tree, (), {}, {})), "here").tree


def told_apart(value: Any) -> Any:
    """Equal exactly for values that are the same to the bit, types and order of entries included."""
    match value:
        case float():
            return "float", struct.pack("<d", value)
        case complex():
            return "complex", struct.pack("<dd", value.real, value.imag)
        case dict():
            return "dict", [(told_apart(key), told_apart(item)) for key, item in value.items()]
        case set() | frozenset():
            return type(value).__name__, sorted(repr(told_apart(item)) for item in value)
        case list() | tuple():
            return type(value).__name__, [told_apart(item) for item in value]
        case Object():
            return value.adapter, value.type, told_apart(value.state), dict(value.about)
        case datetime():
            return "datetime", value, value.utcoffset()
        case _:
            return type(value).__name__, value


@pytest.mark.medium
@settings(max_examples=400)
@given(trees)
@example({"f": 1, "i": 2, "map": {"array": []}})
@example({"": {"a/b": {"%": 0}}, "\ud800": 1})
def test_a_tree_comes_back_as_it_was_to_the_bit(tree):
    assert told_apart(through_json(tree)) == told_apart(tree)


@pytest.mark.parametrize(
    "value",
    [math.nan, -math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, sys.float_info.max, 0.1, 1e22,
     struct.unpack("<d", struct.pack("<Q", 0x7FF0_0000_0000_0001))[0]],
)  # fmt: skip
def test_a_float_keeps_its_64_bits_and_is_valid_json(value):
    text = strict_json.encode(encode_float(value))
    json.loads(text, parse_constant=pytest.fail)
    assert struct.pack("<d", decode_float(strict_json.decode(text))) == struct.pack("<d", value)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "size",
    [2**63 - 1, 2**63, 2**64, 10**19, 10**4000 - 1, 10**4000, 10**99_999 + 7],
    ids=lambda size: f"{size.bit_length()} bits",
)
def test_an_integer_of_up_to_100_000_digits_comes_back(size, sign):
    value = encode_integer(sign * size)
    again = through_json(sign * size)
    assert again == sign * size
    assert isinstance(value, int) == (sign * size in range(-(2**63), 2**63))


@pytest.mark.parametrize("digits", ["", "-", "007", "1", "-0", "+9", "9" * 18, "1e30", "９" * 20, 12, None])
def test_an_integer_that_is_not_written_in_the_one_way_is_refused(digits):
    with pytest.raises(ValueError):
        decode_integer(digits)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":1,"a":1}', "same key twice"),
        ('{"a":{"b":1,"b":2}}', "same key twice"),
        (r'{"a":1,"\u0061":1}', "same key twice"),
        ("[" * 257 + "]" * 257, "nested 257 deep"),
        ("[" * 1_000_000, "nested 1000000 deep"),
        ('{"a":' * 257 + "1" + "}" * 257, "nested 257 deep"),
        ("9223372036854775808", "beyond 63 bits"),
        ("-9223372036854775809", "beyond 63 bits|not JSON"),
        ("1" + "0" * 100_000, "beyond 63 bits|not JSON"),
        ("1e999", "not JSON"),
        ("NaN", "not JSON"),
        ("Infinity", "not JSON"),
        (r'"\ud800"', "not JSON"),
        ('"unfinished', "does not end"),
        ("[1,2", "not JSON"),
        ("[1] [2]", "not JSON"),
        ("", "not JSON"),
        ("'single'", "not JSON"),
    ],
    ids=lambda case: case[:20],
)
def test_loose_json_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        strict_json.decode(text.encode())


def test_brackets_and_quotes_in_strings_are_not_structure():
    value = {"[{": '"]}', 'a\\"b': ":::", "c": ["{" * 300]}
    assert strict_json.decode(strict_json.encode(value)) == value
    assert strict_json.decode(("[" * 256 + "]" * 256).encode())


def test_json_that_is_not_utf_8_is_refused():
    with pytest.raises(ValueError):
        strict_json.decode(b'"\xff"')


DIGESTS = ["0" * 64, "0" * 32]
MALFORMED = {
    "an unknown kind": {"pickle": "gASVFAAA"},
    "two kinds": {"tuple": [], "set": []},
    "no kind": {},
    "a key twice": {"dict": [[1, 1], [1, 2]]},
    "an equal key": {"dict": [[1, 1], [True, 2]]},
    "an array as a key": {"dict": [[{"array": {}}, 1]]},
    "a list as a key": {"dict": [[[1], 1]]},
    "a set as a key": {"dict": [[{"set": []}, 1]]},
    "a list in a key": {"dict": [[{"tuple": [[1]]}, 1]]},
    "a member twice": {"set": [1, 1]},
    "a dict in a set": {"set": [{"map": {}}]},
    "a map of nothing": {"map": None},
    "a dict that is no list": {"dict": {"a": 1}},
    "a finite float by its bits": {"f": "3ff0000000000000"},
    "upper-case bits": {"f": "7FF0000000000000"},
    "a small integer by its digits": {"i": "7"},
    "bad base64": {"bytes": "a"},
    "foreign base64": {"bytes": "ab\n+="},
    "half a surrogate": {"s": "zz"},
    "a date that is none": {"date": "2026-02-30"},
    "a datetime that is none": {"datetime": 5},
    "a duration of floats": {"timedelta": [1.5, 0, 0]},
    "a duration too long": {"timedelta": [10**12, 0, 0]},
    "an alias of what is not there": {"alias": "nothing"},
    "an alias of itself": {"map": {"a": {"alias": "a"}}},
    "an alias that is no text": {"alias": 1},
    "an object without a type": {"object": {"adapter": "a", "state": None}},
    "an object with more": {"object": {"adapter": "a", "type": "t", "state": None, "code": "x"}},
    "an array with more": {"array": {"dtype": "int8", "shape": [0], "kind": "numpy", "pieces": [], "x": 1}},
    "an array of objects": {"array": {"dtype": "|O", "shape": [0], "kind": "numpy", "pieces": []}},
    "a dtype of nowhere": {"array": {"dtype": "os.system", "shape": [0], "kind": "numpy", "pieces": []}},
    "a negative shape": {"array": {"dtype": "int8", "shape": [-1], "kind": "numpy", "pieces": []}},
    "a shape of truths": {"array": {"dtype": "int8", "shape": [True], "kind": "numpy", "pieces": []}},
    "too many axes": {"array": {"dtype": "int8", "shape": [1] * 65, "kind": "numpy", "pieces": []}},
    "an order of its own": {"array": {"dtype": "int8", "shape": [0], "kind": "n", "order": "C", "pieces": []}},
    "a kind with a path": {"array": {"dtype": "int8", "shape": [0], "kind": "../x", "pieces": []}},
    "a piece in no file": {"array": {"dtype": "int8", "shape": [1], "kind": "n", "pieces": [[0, "k", *DIGESTS, 1]]}},
    "half a piece": {"array": {"dtype": "int8", "shape": [1], "kind": "n", "pieces": [[0]]}},
    "a key too long": {"map": {"k" * 65537: 1}},
    "a map that is a set, too": {"map": {}, "set": []},
    "an array that is a map, too": {"array": {"dtype": "int8", "shape": [0], "kind": "n", "pieces": []}, "map": {}},
    "two things at once in a list of lists": [[[{"map": {"a": [[{"f": "7ff8000000000000", "s": ""}]]}}]]],
    "a node without a key": [[{}]],
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_node_is_refused(what):
    data = strict_json.encode({"format": 1, "files": [], "tree": MALFORMED[what]})
    with pytest.raises(CheckpointDamagedError, match="state tree is malformed"):
        decode_tree(data, "here")


@pytest.mark.parametrize(
    "content",
    [
        {"format": 2, "files": [], "tree": 1},
        {"format": 1, "files": [], "tree": 1, "more": 1},
        {"format": 1, "tree": 1},
        {"format": 1, "files": [["../x", 0]], "tree": 1},
        {"format": 1, "files": [["0" * 32 + ".0.safetensors", -1]], "tree": 1},
        {"format": 1, "files": [["0" * 32 + ".0.safetensors", 0]] * 2, "tree": 1},
        {"format": 1, "files": {"a": 1}, "tree": 1},
        [],
    ],
)
def test_a_tree_file_of_another_form_is_refused(content):
    with pytest.raises(CheckpointDamagedError, match="state tree is malformed"):
        decode_tree(strict_json.encode(content), "here")


@pytest.mark.parametrize(
    "tree",
    [
        '{"map":{"a":1,"a":2}}',
        '{"map":{},"map":{}}',
        '[[{"map":{"a":1,"a":2}}]]',
        '{"object":{"adapter":"a","type":"t","state":1,"about":{"x":1,"x":2}}}',
        '{"array":{"dtype":"int8","dtype":"int8","shape":[0],"kind":"n","pieces":[]}}',
        "[9223372036854775808]",
        "123456789012345678901234567890",
        '{"map":{"a":-9223372036854775809}}',
    ],
)
def test_a_key_that_is_repeated_and_an_integer_that_is_too_long_are_refused_anywhere(tree: str):
    with pytest.raises(CheckpointDamagedError, match="state tree is malformed"):
        decode_tree(b'{"format":1,"files":[],"tree":%b}' % tree.encode(), "here")


def test_the_digits_of_a_fraction_make_no_long_integer():
    data = b'{"format":1,"files":[],"tree":[0.1234567890123456789012,1.5e-10,[0.00000000000000000001]]}'
    assert decode_tree(data, "here").tree == [0.1234567890123456789012, 1.5e-10, [1e-20]]


def test_a_structure_that_readers_would_refuse_is_not_written():
    deep: Any = 0
    for _ in range(90):
        deep = {1: deep}  # each takes three levels of JSON
    for state, why in (
        (deep, "nested 27. deep"),
        (["x" * (1 << 20)] * 65, "put large strings and lists into arrays"),
        ({"k" * 70_000: 1}, "a key is too long"),
        (np.zeros(1, [(f"{'f' * 1000}{number}", "i1") for number in range(70)]), "element type"),
        (10**200_001, "more than 200,000 digits"),
        ({(number + 1) * (2**61 - 1): 0 for number in range(100)}, "the same hash"),
    ):
        disk = MemoryDisk()
        with pytest.raises(UsageError, match=why):
            save(disk, "runs", state)
        assert disk.folders("runs") == []


ARRAYS = {
    "0-d": np.array(2.5),
    "empty": np.zeros((3, 0, 2), "i2"),
    "C": np.arange(24.0).reshape(2, 3, 4),
    "F": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "strided": np.arange(20)[::3],
    "bool": np.array([True, False]),
    "complex64": np.array([1 - 2j, complex("nan")], "c8"),
    "complex128": np.array([1 - 2j]),
    "big-endian": np.arange(5, dtype=">f4"),
    "datetime": np.array(["2024-01-01", "NaT"], "M8[ns]"),
    "text": np.array(["a", "éß", ""]),
    "bytes": np.array([b"a\0b", b""]),
    "void": np.array([b"abc"], "V3"),
    "structured": np.array([(1, (2.5, "x"))], [("a", "i1"), ("b", [("c", ">f8"), ("d", "U3")])]),
    "bfloat16": np.array([1.5, -0.0], ml_dtypes.bfloat16),
    "float8": np.array([1.5, 0.25], ml_dtypes.float8_e4m3fn),
    "float4": np.array([[1.5, -6], [0, -0.0]], ml_dtypes.float4_e2m1fn),
    "float8_e3m4": np.array([1.5, -0.0], ml_dtypes.float8_e3m4),
    "int2": np.array([1, -2, 0], ml_dtypes.int2),
    "int4": np.asfortranarray(np.arange(-8, 8).reshape(2, 8).astype(ml_dtypes.int4)),
    "uint4": np.arange(16).astype(ml_dtypes.uint4),
    "longdouble": np.array([0.1], np.longdouble),
    "half": np.array([np.nan, -0.0, 6e-8], "f2"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_comes_back_with_its_bits_dtype_shape_and_memory_order(kind, disk, runs):
    array = ARRAYS[kind]
    save(disk, runs, {"x": array, "whole": [array.copy()]})
    again = load(disk, place(runs))["x"]
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()
    if kind == "F":
        assert again.flags.f_contiguous
        assert not again.flags.c_contiguous


def test_a_state_may_be_one_array(disk, runs):
    save(disk, runs, np.arange(5.0))
    assert load(disk, place(runs)).tolist() == [0, 1, 2, 3, 4]


def test_only_what_was_tied_comes_back_tied(disk, runs):
    array = np.arange(40_000)
    save(disk, runs, {"a": array, "b": array, "equal": array.copy()})
    with bundle.Bundle(disk, place(runs)) as opened:
        assert opened.tree["b"] == Alias("a")
        assert isinstance(opened.tree["equal"], Leaf)
        assert opened.record.bytes_written < 1.1 * array.nbytes  # equal bytes are stored once all the same
    again = load(disk, place(runs))
    assert again["a"] is again["b"]
    assert again["a"] is not again["equal"]


def test_everyday_values_come_back(disk, runs):
    state = {
        "epoch": 3, "best": -0.0, "worst": math.nan, "name": "läuft", "odd": "\ud800", "data": b"\0\xff",
        "long": bytes(range(256)) * 1000, "pair": (1, [2, {3, 4}]), 7: {None: 1, (1, "x"): 2, 2.5: 3, b"k": 4},
        "when": datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "day": date(2026, 1, 2), "at": time(3, 4, 5, 6),
        "took": timedelta(days=-1, microseconds=5), "where": Path("a/b"), "huge": -(10**5000), "z": 1 - 0.0j,
    }  # fmt: skip
    save(disk, runs, state)
    assert told_apart(load(disk, place(runs))) == told_apart(state)
