"""State paths: the names of the parts of a state, such as `model_graph/encoder/0.weight`.

Elements are joined by `/`. In an element `%`, `/`, `[`, `]`, controls and lone surrogates are written
`%XX` (the bytes of their UTF-8 form), an empty one is `%`, and a key that is no string carries a mark of
its type (`%i:1`, `%b:true`), which no escaped string can begin with. So paths are unique, printable,
and can stand as keys in a safetensors file.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

_ESCAPED = re.compile("[%/\\[\\]\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPES = re.compile("(?:%[0-9A-F]{2})+")
_PLAIN_KEYS = frozenset({str, int, float, bool, type(None), bytes})
_RESERVED = "__metadata__"  # safetensors keeps this key for itself


def child(parent: str, key: Hashable) -> str:
    """The path of what `parent` (empty: the root of the state) holds under `key`.

    Raises:
        TypeError: `key` is not plain: str, bool, int, float, None, bytes, or a tuple of these.
    """
    # Most keys are short texts, and a state has very many of them.
    element = _escaped(key) if type(key) is str and len(key) <= 64 else _element(key)
    if not parent:
        return element.replace("_", "%5F", 1) if element == _RESERVED else element
    return f"{parent}/{element}"


def item(parent: str, index: int) -> str:
    """The path of the item at `index` of a list or tuple."""
    return f"{parent}/{index}" if parent else str(index)


def has_plain_keys(value: Mapping[Any, Any]) -> bool:
    """Whether a tree can have these keys as they are. A subclass of `str` or `int`, such as an `IntEnum`, is more than that."""
    return _are_plain(value)


def entries(parent: str, value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The path of each entry of a live dict at `parent`, and the entry; where a key is not plain, entries go by number."""
    if has_plain_keys(value):
        yield from ((child(parent, key), each) for key, each in value.items())
    else:
        values = child(parent, "values")
        yield from ((item(values, index), each) for index, each in enumerate(value.values()))


def plain_name(path: str) -> list[str]:
    """The elements of a path as they were before they were escaped; keys that are no strings without their mark."""
    return [_plain_element(element) for element in path.split("/")]


def matches(path: str, pattern: str) -> bool:
    """Whether `pattern` means `path`: `*` and `?` stay within an element, `**` crosses them; all else is literal.

    A pattern begins at the top, unless it begins with `**/`, and includes everything below the paths that it names:
    `a/*/c`, `**/c` and `a/**` all mean `a/b/c`. `**/` between elements stands for any number of them, none included.
    """
    return _compiled(pattern).fullmatch(path) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"((?:(?<=/)|\A)\*\*/|\*\*|\*|\?)", pattern.rstrip("/"))
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts) + "(/.*)?", re.DOTALL)


def _are_plain(keys: Iterable[Any]) -> bool:
    kinds = {*map(type, keys)}
    if kinds <= _PLAIN_KEYS:
        return True
    return kinds <= _PLAIN_KEYS | {tuple} and all(_are_plain(key) for key in keys if type(key) is tuple)


def _element(key: Hashable) -> str:
    match key:
        case str():
            return _escaped(key) if len(key) <= 64 else _escape(key)
        case None:
            return "%n:"
        case bool():
            return f"%b:{str(key).lower()}"
        case int():
            return f"%i:{key:d}"
        case float():
            return f"%f:{key.hex()}"
        case bytes():
            return f"%y:{key.hex()}"
        case tuple():
            return "%t:" + ",".join(_element(part).replace(",", "%2C") for part in key)
        case _:
            raise TypeError(f"a {type(key).__name__} is not a plain key")


@lru_cache(maxsize=4096)  # a state repeats few keys many times
def _escaped(key: str) -> str:
    return _escape(key)


def _escape(key: str) -> str:
    return _ESCAPED.sub(_percent, key) or "%"


def _plain_element(element: str) -> str:
    text = "" if element == "%" else re.sub(r"\A%[a-z]:", "", element)
    return _ESCAPES.sub(
        lambda match: bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "surrogatepass"), text
    )


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode("utf-8", "surrogatepass"))
