"""Each place of a state has one printable path, which no other place has."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import paths

texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    [
        "",
        "%",
        "/",
        "a/b",
        "%i:1",
        "%n:",
        "%2F",
        "[0]",
        "0",
        "__metadata__",
        "\0",
        "\x7f",
        "\x9f",
        "\ud800",
        "é",
    ]
)
keys = st.one_of(
    texts,
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.binary(max_size=4),
    st.tuples(texts, texts),
    st.tuples(st.tuples(texts), st.integers()),
)


def name(key: object) -> object:
    """What tells keys apart that Python holds for equal."""
    return (type(key), key.hex()) if isinstance(key, float) else (type(key), repr(key))


@given(st.lists(keys, min_size=1, max_size=4), st.lists(keys, min_size=1, max_size=4))
def test_two_places_never_have_one_path(one, other):
    def path(parts):
        complete = ""
        for part in parts:
            complete = paths.child(complete, part)
        return complete

    if [name(key) for key in one] != [name(key) for key in other]:
        assert path(one) != path(other)


@given(keys)
def test_a_path_is_printable_utf_8_of_one_element(key):
    element = paths.child("", key)
    assert element.encode()
    assert "/" not in element
    assert "[" not in element
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in element)


@pytest.mark.parametrize(
    ("key", "element"),
    [("a", "a"), ("", "%"), ("a/b", "a%2Fb"), ("%", "%25"), ("x[0]", "x%5B0%5D"), ("\n", "%0A"),
     ("\ud800", "%ED%A0%80"), ("é", "é"), (1, "%i:1"), (-1, "%i:-1"), (True, "%b:true"), (None, "%n:"),
     (0.5, "%f:0x1.0000000000000p-1"), (b"\x01", "%y:01"), (("a", 1), "%t:a,%i:1"), (("a,b",), "%t:a%2Cb")],
)  # fmt: skip
def test_the_documented_forms(key, element):
    assert paths.child("", key) == element
    assert paths.child("top", key) == f"top/{element}"


def test_the_name_that_safetensors_keeps_for_itself_is_escaped_at_the_top_only():
    assert paths.child("", "__metadata__") == "%5F_metadata__"
    assert paths.child("a", "__metadata__") == "a/__metadata__"


def test_items_of_lists_are_numbered():
    assert paths.item("", 0) == "0"
    assert paths.item("a/b", 12) == "a/b/12"


def test_a_key_that_is_not_plain_is_refused():
    with pytest.raises(TypeError, match="object is not a plain key"):
        paths.child("", object())


@pytest.mark.parametrize(
    ("pattern", "means", "does_not"),
    [
        ("a/b", ["a/b", "a/b/c"], ["a/bc", "x/a/b"]),
        ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/b/c"]),
        ("*.weight", ["0.weight", "0.weight/x"], ["a/0.weight"]),
        ("**.weight", ["0.weight", "a/b/0.weight"], ["a/weight"]),
        ("**/weight", ["weight", "a/weight", "a/b/weight/c"], ["a/0.weight"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["ac", "a/bc"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("a/?", ["a/b"], ["a/bc", "a/"]),
        ("a[b]", ["a[b]"], ["ab"]),
        ("**", ["a", "a/b"], []),
    ],
)
def test_a_pattern_means_what_the_page_says(pattern, means, does_not):
    assert [path for path in means if not paths.matches(path, pattern)] == []
    assert [path for path in does_not if paths.matches(path, pattern)] == []
