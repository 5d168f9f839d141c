"""What the file of a state tree has, as msgspec reads it; `tree.py` makes nodes of it, and checks what types cannot say."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .keys import MAX_KEY

MAX_RANK = 64

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Short: TypeAlias = Annotated[str, Meta(max_length=MAX_KEY)]


class Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part of the file: no fields but these."""


class JsonPiece(Strict, array_like=True):
    file: Count
    key: str
    blake3: Annotated[str, Meta(min_length=64, max_length=64)]
    xxh3: Annotated[str, Meta(min_length=32, max_length=32)]
    born: Count


class JsonArray(Strict):
    dtype: Short
    shape: Annotated[tuple[Count, ...], Meta(max_length=MAX_RANK)]
    kind: str
    pieces: list[JsonPiece] | UnsetType = UNSET
    layout: Count | UnsetType = UNSET
    order: Literal["F"] | UnsetType = UNSET
    codec: str | UnsetType = UNSET
    axes: tuple[int, ...] | UnsetType = UNSET


class JsonObject(Strict):
    adapter: str
    type: str
    state: JsonNode
    about: dict[str, Any] | UnsetType = UNSET


class Tagged(Strict):
    """A node that is an object with one key. That it has no second one shows when all keys are counted."""

    array: JsonArray | UnsetType = UNSET
    map: dict[Short, JsonNode] | UnsetType = UNSET
    object: JsonObject | UnsetType = UNSET
    tuple_: list[JsonNode] | UnsetType = msgspec.field(default=UNSET, name="tuple")
    dict_: list[tuple[JsonNode, JsonNode]] | UnsetType = msgspec.field(default=UNSET, name="dict")
    set_: list[JsonNode] | UnsetType = msgspec.field(default=UNSET, name="set")
    frozenset_: list[JsonNode] | UnsetType = msgspec.field(default=UNSET, name="frozenset")
    alias: str | UnsetType = UNSET
    f: Any = UNSET
    i: Any = UNSET
    s: Any = UNSET
    bytes: Any = UNSET
    complex: Any = UNSET
    datetime: Any = UNSET
    date: Any = UNSET
    time: Any = UNSET
    timedelta: Any = UNSET
    path: Any = UNSET


_Item: TypeAlias = Tagged | list[Any] | str | int | float | bool | None
"""In a list within a list nothing is typed: msgspec knows no type of lists of itself."""
JsonNode: TypeAlias = Tagged | list[_Item] | str | int | float | bool | None


class TreeFile(Strict):
    format: Literal[1]
    files: list[tuple[str, Count]]
    tree: JsonNode
