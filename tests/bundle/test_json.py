"""Two readers must never see two things in one file: JSON is read strictly, by the fast way and by the careful one."""

from __future__ import annotations

import json

import pytest

from holdfast.bundle._format import strict_json

LONG = "x" * 5000  # what is longer than this is taken apart by arrays, not by an expression


@pytest.mark.parametrize("filler", ["", LONG, LONG + "\\\\", LONG + '\\"', "é" + LONG])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":1,"b":{"c":1,"c":2}}', "same key twice"),
        ('{"a":1,"a":1}', "same key twice"),
        ('{"a:":1,"b":[":::",{":":1,":":1}]}', "same key twice"),
        ("[" * 257 + "]" * 257, "nested"),
        (f"[{1 << 63}]", "beyond 63 bits"),
        (f"[{-(1 << 63) - 1}]", "."),
        ('["a', "."),
        ('["a"]"', "."),
    ],
)
def test_json_that_two_readers_could_understand_differently_is_refused_however_long(filler, text, why):
    with pytest.raises(ValueError, match=why):
        strict_json.decode(f'["{filler}",{text}]'.encode())


@pytest.mark.parametrize("filler", ["", LONG, LONG + "\\\\", LONG + '\\"', LONG + "{[:"])
@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":{"a":2}}',
        "[0.12345678901234567891, 1e3, -0.5]",
        f"[{(1 << 63) - 1}]",
        '{"]]]":"[{["}',
        " [ ] ",
    ],
)
def test_json_that_has_one_meaning_is_read_however_it_was_written(filler, text):
    data = f'["{filler}",{text}]'
    assert (
        strict_json.decode(data.encode()) == strict_json.decode(memoryview(data.encode())) == json.loads(data)
    )


@pytest.mark.parametrize("length", range((1 << 20) - 12, (1 << 20) + 4))
def test_strings_are_strings_wherever_the_scan_pauses(length):
    text = json.dumps({"a" * length: "]{:", "b": ["[", {"c": ":"}]})
    assert strict_json.decode(text.encode()) == json.loads(text)
    with pytest.raises(ValueError, match="same key twice"):
        strict_json.decode((text[:-1] + ',"b":1}').encode())
