"""Reading `.safetensors`, one file or several with an index: by our own bounded parser, straight from the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from .. import dtypes, paths
from ..bundle import decode_json
from ..checkpoint import Part
from ..errors import ForeignFileError
from ..records import Alias, Leaf, Node
from ..storage import LocalDisk, ReadFile, real_path

_MAX_HEADER_BYTES = 100 << 20  # the reference reader's limit
_MAX_INDEX_BYTES = 64 << 20
_DTYPES = {
    known: name for name in dtypes.plain_names() if (known := dtypes.safetensors_name_now(name)) is not None
}


@dataclass(frozen=True, slots=True)
class _Span:
    file: ReadFile
    start: int


@contextlib.contextmanager
def opened(place: str) -> Iterator[tuple[Node, Part]]:
    """The tree of a file, or of all files that an index names, and what makes its bytes."""
    with contextlib.ExitStack() as closing:
        tree: dict[str, Node] = {}
        spans: dict[str, _Span] = {}
        for file in _shards(place) if place.endswith(".index.json") else [place]:
            _read(file, closing, tree, spans)

        def part(leaf: Leaf, start: int, size: int) -> memoryview:
            out = memoryview(bytearray(size))
            span = spans[leaf.path]
            try:
                span.file.read_into(span.start + start, out)
            except (EOFError, OSError) as err:
                raise ForeignFileError(place, f"{leaf.path!r} cannot be read: {err}") from err
            return out

        yield tree, part


def index_in(directory: str) -> str | None:
    """The index of a directory of shards, if there is just one."""
    found = [name for name in os.listdir(directory) if name.endswith(".safetensors.index.json")]
    return os.path.join(directory, found[0]) if len(found) == 1 else None


def _shards(index: str) -> list[str]:
    with contextlib.closing(_open(index)) as file:
        content = _json(index, file, 0, min(file.size, _MAX_INDEX_BYTES + 1), _MAX_INDEX_BYTES)
    homes = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(homes, dict) or not all(isinstance(name, str) for name in homes.values()):
        raise ForeignFileError(index, "it is not an index: it has no weight_map.")
    names = list(dict.fromkeys(homes.values()))
    for name in names:
        if os.path.basename(name) != name or not name.endswith(".safetensors"):
            raise ForeignFileError(index, f"it names {name!r}, which is not a .safetensors file beside it.")
    return [os.path.join(os.path.dirname(index), name) for name in names]


def _read(place: str, closing: contextlib.ExitStack, tree: dict[str, Node], spans: dict[str, _Span]) -> None:
    file = closing.enter_context(contextlib.closing(_open(place)))
    prefix = memoryview(bytearray(8))
    if file.size < 8:
        raise ForeignFileError(place, "it is shorter than a header.")
    file.read_into(0, prefix)
    length = int.from_bytes(prefix, "little")
    table = _json(place, file, 8, length, min(_MAX_HEADER_BYTES, file.size - 8))
    if not isinstance(table, dict):
        raise ForeignFileError(place, "its header is not a table.")
    notes = table.pop("__metadata__", None) or {}
    expected = 0
    for name, entry in sorted(table.items(), key=_offsets):
        leaf, (start, end) = _leaf(place, name, entry)
        if start != expected:
            raise ForeignFileError(place, f"{name!r} overlaps another array, or there is a hole before it.")
        if name in tree:
            raise ForeignFileError(place, f"{name!r} is in another file too.")
        expected = end
        tree[name] = leaf
        spans[leaf.path] = _Span(file, 8 + length + start)
    if 8 + length + expected != file.size:
        raise ForeignFileError(
            place, f"it has {file.size} bytes, and its header says {8 + length + expected}."
        )
    for name, kept in notes.items() if isinstance(notes, dict) else ():  # tied arrays, told as other names
        if not isinstance(kept, str):
            raise ForeignFileError(place, f"its metadata say something else than text of {name!r}.")
        if kept in table and name not in tree:
            tree[name] = Alias(paths.child("", kept))


def _offsets(item: tuple[str, Any]) -> tuple[int, int]:
    match item[1]:
        case {"data_offsets": [int() as start, int() as end]}:
            return start, end
    return -1, -1


def _leaf(place: str, name: str, entry: Any) -> tuple[Leaf, tuple[int, int]]:
    match entry:
        case {
            "dtype": str() as dtype,
            "shape": list() as shape,
            "data_offsets": [int() as start, int() as end],
        }:
            counts = all(type(extent) is int and extent >= 0 for extent in shape) and len(shape) <= 64
            if dtype not in _DTYPES:
                raise ForeignFileError(
                    place, f"{name!r} is of type {dtype[:40]!r}, which Holdfast does not know."
                )
            if counts and dtype == "F4":  # counted one by one, and kept in pairs, as torch has them
                shape = _in_pairs(place, name, shape)
            if not counts or prod(shape) * dtypes.item_size(_DTYPES[dtype]) != end - start or start < 0:
                raise ForeignFileError(place, f"{name!r}: its shape and its offsets disagree.")
            kind = "torch" if dtype == "F4" else "numpy"  # which has no pairs
            return Leaf(paths.child("", name), _DTYPES[dtype], tuple(shape), kind=kind), (start, end)
    raise ForeignFileError(place, f"{name!r} has no type, shape or offsets.")


def _in_pairs(place: str, name: str, shape: list[int]) -> list[int]:
    if not shape or shape[-1] % 2:
        raise ForeignFileError(
            place, f"{name!r} is of type 'F4', and its rows of {shape} are no pairs, as Holdfast needs them."
        )
    return [*shape[:-1], shape[-1] // 2]


def _json(place: str, file: ReadFile, start: int, length: int, limit: int) -> Any:
    if not 2 <= length <= limit:
        raise ForeignFileError(place, f"its header would be {length} bytes long.")
    data = bytearray(length)
    file.read_into(start, memoryview(data))
    try:
        return decode_json(bytes(data))
    except ValueError as err:
        raise ForeignFileError(place, f"its header is {err}.") from None


def _open(place: str) -> ReadFile:
    # Download caches are full of symbolic links; follow the one that the user named.
    folder, name = os.path.split(real_path(place))
    try:
        with LocalDisk().open_directory(folder) as directory:
            return directory.open(name)
    except OSError as err:
        raise ForeignFileError(place, f"it cannot be opened ({err.strerror}).") from err
