"""The tree of a checkpoint that several processes saved together, read back from its head and all parts.

`docs/format.md`, section 10, has the grammar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ... import paths
from ...errors import CheckpointDamagedError
from ...records import Box, Leaf, Node
from . import strict_json
from .boxes import MAX_LAYOUTS, Laid, Region, Shape, check_tiles
from .json_tree import Count, JsonNode, JsonPiece, Strict
from .part import Part
from .pieces import PIECE_BYTES, Piece
from .tree import MALFORMED, Decoder, StoredTree, decode_files, room_for_paths


class _Laid(Strict, array_like=True):
    rank: Count
    offset: Shape
    shape: Shape


class _File(Strict):
    format: Literal[2]
    files: list[tuple[str, Count]]
    layouts: Annotated[list[Annotated[list[_Laid], Meta(min_length=1)]], Meta(max_length=MAX_LAYOUTS)]
    tree: JsonNode


_DECODER: Final = msgspec.json.Decoder(_File)


def decode_head(data: bytes | bytearray, place: str, parts: Sequence[Part]) -> StoredTree:
    """The tree of a head and its parts, by rank; `place` is named in errors.

    Raises:
        CheckpointDamagedError: they break the format.
    """
    try:
        file, num_keys = strict_json.decode_as(_DECODER, data)
        links = decode_files(file.files)
        head = _Head(file.layouts, parts)
        decoder = Decoder(list(links), room_for_paths(data), head)
        tree = decoder.node("", file.tree)
        boxes = head.boxes(decoder)
        # In no file are fewer keys than were decoded from it: if all together are as many, those of each are.
        num_keys += sum(strict_json.count_keys(part.own) for part in parts)
        strict_json.check_keys(len(_File.__struct_fields__) + decoder.num_keys, num_keys)
        decoder.check_digests()
        for part in parts:
            links |= part.links
        return StoredTree(tree, decoder.leaves, decoder.pieces, links, decoder.codecs, boxes)
    except MALFORMED as err:
        raise CheckpointDamagedError(place, f"its state tree is malformed ({err})") from None


def box_path(path: str, offset: Sequence[int]) -> str:
    """The path of a box of the array at `path`, by which it is named in packs and errors."""
    return f"{path or '%'}[{','.join(map(str, offset))}]"


class _Head:
    """Joins the head with its parts."""

    def __init__(self, layouts: Sequence[Sequence[_Laid]], parts: Sequence[Part]) -> None:
        if any(laid.rank >= len(parts) for layout in layouts for laid in layout):
            raise ValueError("a box was written by no process")
        self._parts = parts
        self._layouts = [
            [Laid(laid.rank, Region(laid.offset, laid.shape)) for laid in layout] for layout in layouts
        ]
        self._shapes: dict[int, tuple[int, ...]] = {}  # by layout
        self._laid: list[tuple[Leaf, int]] = []  # arrays with a layout
        self._num_own = 0
        self._is_own = False

    def take(self, leaf: Leaf, layout: int) -> None:
        if self._is_own or not layout < len(self._layouts):
            raise ValueError(f"{leaf.path!r} has no layout")
        if leaf.size_bytes > prod(leaf.shape) * PIECE_BYTES:
            raise ValueError(f"{leaf.path!r} has items that are longer than a piece")
        if layout not in self._shapes:
            check_tiles(leaf.shape, [laid.region for laid in self._layouts[layout]])
            self._shapes[layout] = leaf.shape
        elif self._shapes[layout] != leaf.shape:
            raise ValueError(f"{leaf.path!r} has another shape than its layout")
        self._laid.append((leaf, layout))

    def own(self, decoder: Decoder, path: str, content: JsonNode) -> list[Node]:
        """What each process has for itself: the next of such values in every part."""
        if content is not None or self._is_own:
            raise ValueError(f"{path!r} is no place for what each process has for itself")
        files, finished = decoder.files, decoder.finished
        found: list[Node] = []
        for rank, part in enumerate(self._parts):
            decoder.files, decoder.finished, self._is_own = list(part.links), set(), True
            if self._num_own >= len(part.own):
                raise ValueError(f"the part of rank {rank} has too few values of its own")
            found.append(decoder.node(paths.item(path, rank), part.own[self._num_own]))
        decoder.files, decoder.finished, self._is_own = files, finished, False
        self._num_own += 1
        return found

    def boxes(self, decoder: Decoder) -> dict[str, Sequence[Box]]:
        """The boxes of each array that has a layout, with their pieces, of which the parts must say all."""
        if any(len(part.own) != self._num_own for part in self._parts):
            raise ValueError("a part has too many values of its own")
        by_rank = [_by_rank(layout) for layout in self._layouts]
        found: list[dict[int, Sequence[Piece]]] = [
            {} for _ in self._laid
        ]  # for each array, by the box's index
        for rank, part in enumerate(self._parts):
            decoder.files = list(part.links)
            done: Counter[int] = Counter()
            for array, pieces in part.boxes:
                if type(array) is not int or not 0 <= array < len(self._laid):
                    raise ValueError("a box is of no array")
                mine = by_rank[self._laid[array][1]].get(rank, ())
                if done[array] >= len(mine):
                    raise ValueError("a part has a box that is not in the layout")
                found[array][mine[done[array]]] = decoder.placed(msgspec.convert(pieces, list[JsonPiece]))
                done[array] += 1
        return {
            leaf.path: _boxes_of(decoder, leaf, self._layouts[layout], found[array])
            for array, (leaf, layout) in enumerate(self._laid)
        }


def _by_rank(layout: Sequence[Laid]) -> dict[int, list[int]]:
    """For each rank, which of the boxes it has written."""
    found: dict[int, list[int]] = {}
    for index, laid in enumerate(layout):
        found.setdefault(laid.rank, []).append(index)
    return found


def _boxes_of(
    decoder: Decoder, leaf: Leaf, layout: Sequence[Laid], found: Mapping[int, Sequence[Piece]]
) -> list[Box]:
    if len(found) != len(layout):
        raise ValueError(f"{leaf.path!r}: no part has {len(layout) - len(found)} of its boxes")
    del decoder.pieces[leaf.path]
    boxes: list[Box] = []
    for index, (_, region) in enumerate(layout):
        path = box_path(leaf.path, region.offset)
        decoder.spend(path)
        box = Box(path, leaf.dtype, region.shape, kind=leaf.kind, of=leaf.shape, offset=region.offset)
        boxes.append(box)
        decoder.pieces[path] = found[index]
    return boxes
