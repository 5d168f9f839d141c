"""JSON that is read strictly: bounded, no key twice, no depth that could exhaust the stack.

msgspec decodes fast but lets a repeated key win and recurses as deep as it is told to. So a scan of
the raw bytes comes first: it removes the strings, then brackets give the depth and colons the number
of keys, which must be the number that the decoded value holds. What encodes to the very same bytes
again, as all does that we wrote ourselves, need not be counted: a repeated key would be lacking.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np

Kind = TypeVar("Kind")

MAX_DEPTH = 256
_SCAN = 1 << 20  # bytes looked at together: arrays of all of them would take too much memory
_SHORT = 4096  # bytes; arrays are faster on longer ones
_LONG = b"0" * 19  # what has fewer digits fits 63 bits
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
# Each byte as the step in depth that it makes: 1, or −1 as a signed byte, or 0.
_STEPS = bytes(1 if code in b"[{" else 255 if code in b"]}" else 0 for code in range(256))


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON of dicts, lists, strings, booleans, None, finite floats, 64-bit integers."""
    return msgspec.json.encode(value)


def decode(data: bytes | bytearray | memoryview, *, accept: Callable[[int, int], bool] | None = None) -> Any:
    """The value that `data` holds.

    `accept` is told the numbers of objects and of keys, and can refuse them before memory is taken.

    Raises:
        ValueError: not JSON, deeper than 256, a key twice in one object, a number out of range, not accepted.
    """
    bones = _accepted(data, accept)
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise ValueError(f"not JSON: {err}") from None
    if encode(value) == bytes(data) and not _has_long_integer(bones):
        return value
    check_keys(count_keys(value), bones.count(b":"))
    return value


def decode_as(
    decoder: msgspec.json.Decoder[Kind],
    data: bytes | bytearray | memoryview,
    *,
    accept: Callable[[int, int], bool] | None = None,
) -> tuple[Kind, int]:
    """As `decode`, of one kind of values: types are checked as they are read. Gives the number of keys in `data`, too.

    Whoever walks through the value calls `check_keys` with it.
    """
    bones = _accepted(data, accept)
    try:
        value = decoder.decode(data)
        if _has_long_integer(bones):
            count_keys(msgspec.json.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise ValueError(f"not JSON: {err}") from None
    return value, bones.count(b":")


def check_keys(in_value: int, in_text: int) -> None:
    """ValueError if the text has more keys than what was decoded from it."""
    if in_value != in_text:
        raise ValueError("an object has the same key twice, or more keys than one")


def _accepted(data: bytes | bytearray | memoryview, accept: Callable[[int, int], bool] | None) -> bytes:
    bones = check_depth(data)
    if b'"' in bones:
        raise ValueError("a string does not end")
    if accept and not accept(bones.count(b"{"), bones.count(b":")):
        raise ValueError("it has too many keys")
    return bones


def num_keys(data: bytes | bytearray | memoryview) -> int:
    """How many keys its objects have together."""
    return _without_strings(data).count(b":")


def check_depth(data: bytes | bytearray | memoryview) -> bytes:
    """ValueError if `data` is deeper than 256; else what is left of it without the strings."""
    bones = _without_strings(data)
    if bones.count(b"{") + bones.count(b"[") > MAX_DEPTH and (deepest := _deepest(bones)) > MAX_DEPTH:
        raise too_deep(deepest)
    return bones


def too_deep(deepest: int) -> ValueError:
    """The error of what is nested so deep."""
    return ValueError(f"nested {deepest} deep, more than {MAX_DEPTH}")


def depth_of(data: bytes) -> int:
    """How deep its lists and objects are nested."""
    return _deepest(_without_strings(data))


def _deepest(bones: bytes) -> int:
    steps = np.frombuffer(bones.translate(_STEPS), np.int8)
    depth = deepest = 0
    for first in range(0, len(steps), _SCAN):
        depths = depth + np.cumsum(steps[first : first + _SCAN], dtype=np.int64)
        depth, deepest = int(depths[-1]), max(deepest, int(depths.max()))
    return deepest


def _without_strings(data: bytes | bytearray | memoryview) -> bytes:
    text = bytes(data)
    if b"\\" in text or text.count(b'"') % 2:  # a quote may be none, or the last string has no end
        return _STRING.sub(b"", text)
    if len(text) < _SHORT:
        return b"".join(text.split(b'"')[::2])
    characters, bones, is_open = np.frombuffer(text, np.uint8), [], np.False_
    for first in range(0, len(text), _SCAN):
        part = characters[first : first + _SCAN]
        quotes = part == ord('"')
        # from each opening quote to before the closing one
        is_inside = is_open ^ np.bitwise_xor.accumulate(quotes)
        is_open = is_inside[-1]
        bones.append(part[~(is_inside | quotes)].tobytes())
    return b"".join(bones)


def _has_long_integer(bones: bytes) -> bool:
    """Whether one may have more than 63 bits; the digits of a fraction are none."""
    digits, end = bones.translate(_DIGITS), 0
    while (start := digits.find(_LONG, end)) >= 0:
        if digits[start - 1 : start] != b".":
            return True
        end = start + len(_LONG)
        while digits[end : end + 1] == b"0":
            end += 1
    return False


def count_keys(value: Any) -> int:
    """Keys of all objects in `value`; refuses integers that do not fit 64 bits on the way."""
    keys, waiting = 0, [value]
    while waiting:
        found = waiting.pop()
        if type(found) is dict:
            keys += len(found)
            waiting.extend(found.values())
        elif type(found) is list:
            waiting.extend(found)
        elif type(found) is int and not -(1 << 63) <= found < 1 << 63:
            raise ValueError("an integer beyond 63 bits")
    return keys
