"""What each rank writes: its part with its packs, and rank 0 the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import msgspec
from blake3 import blake3
from xxhash import xxh3_128

from ...dtypes import item_size
from ...records import Box, CheckpointRecord, Extent, Leaf, Node, PartEntry, Range, Snapshot, leaves
from ...storage import Directory, Storage
from .._finite import Watched
from .._format.boxes import Region
from .._format.head import box_path
from .._format.names import first_pack_of, part_file
from .._format.part import encode_part
from .._format.tree import StoredTree
from .._format.tree_text import TreeText, in_files
from .._layout import Layout
from .._sharing import Sharing
from .._write import FileWriter, write_file
from .plan import Plan
from .split import Split


class _Span(NamedTuple):
    """A `records.Range`."""

    leaf: Leaf
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class _Moved:
    """A snapshot in which some leaves are parts of those that it was made of: by path, the leaf and the first byte there."""

    base: Snapshot
    tree: Node
    origins: Mapping[str, tuple[Leaf, int]]

    @property
    def is_live(self) -> bool:
        return self.base.is_live

    @property
    def in_place(self) -> bool:
        return self.base.in_place

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        return self.base.pieces([self._origin(each) for each in wanted])

    def extent(self, wanted: Sequence[Range]) -> Extent | None:
        return self.base.extent([self._origin(each) for each in wanted])

    def _origin(self, wanted: Range) -> Range:
        leaf, first = self.origins.get(wanted.leaf.path, (wanted.leaf, 0))
        return _Span(leaf, first + wanted.start, wanted.size)

    def seal(self) -> None:
        self.base.seal()


class Told(msgspec.Struct, frozen=True):
    """What a rank tells of its part: its entry in the record, its packs, and what they cost."""

    name: str
    size: int
    digest: str
    packs: dict[str, int]
    written: int
    shared: int
    nonfinite: dict[str, tuple[int, int]]
    alike: str  # the digest of what should be equal on all ranks

    @property
    def entry(self) -> PartEntry:
        return PartEntry(self.name, self.size, self.digest, sum(self.packs.values()))

    @property
    def files(self) -> dict[str, int]:
        """The sizes of all that the rank wrote, by name."""
        return {self.name: self.size, **self.packs}


class RankWriter:
    """Writes what one rank adds to the save `id`, into one directory.

    `found`: what it has captured, as `snapshot` has it. `rename_links`, `now_s`, `is_watched`: as of `FileWriter`.
    """

    def __init__(
        self,
        disk: Storage,
        directory: Directory,
        id: str,
        draft: CheckpointRecord,
        snapshot: Snapshot,
        found: Split,
        *,
        is_watched: Watched,
    ) -> None:
        self._disk, self._directory, self._id, self._draft = disk, directory, id, draft
        self._snapshot, self._found, self._is_watched = snapshot, found, is_watched

    def part(self, rank: int, arrays: Sequence[str], share: Mapping[str, Sequence[Region]]) -> Told:
        """Write the part of this rank, and make it durable. `arrays`: those that have a layout, in the order of the head.

        Raises:
            OSError: the disk refused something.
            ValueError: it is too large.
        """
        self._snapshot.seal()
        origins, boxes = self._origins(share)
        own = TreeText(list(self._found.own))
        array_of = {path: leaf.path for path, (leaf, _) in origins.items()}
        writer = self._writer(first_pack_of(rank), lambda path: self._is_watched(array_of.get(path, path)))
        pieces = [*boxes.values(), *own.leaves]
        packed = writer.pack(_Moved(self._snapshot, pieces, origins), Layout(pieces))
        numbers = {name: number for number, name in enumerate(packed.links)}
        placed = [
            [index, in_files(numbers, packed.placed[boxes[path, region.offset].path])]
            for index, path in enumerate(arrays)
            for region in share.get(path, ())
        ]
        stored = StoredTree(None, own.leaves, packed.placed, packed.links)
        packs = sorted(packed.packs, key=lambda pack: numbers[pack.name])
        data = encode_part(self._id, rank, packs, packed.links, placed, own.node(stored))
        name = part_file(self._id, rank)
        durable = self._draft.durability == "full"
        write_file(self._directory, name, data, durable=durable)
        if durable:
            self._directory.sync()
        nonfinite: dict[str, tuple[int, int]] = {}
        for path, (nans, infs) in packed.nonfinite.items():
            before = nonfinite.get(array := array_of.get(path, path), (0, 0))
            nonfinite[array] = before[0] + nans, before[1] + infs
        return Told(
            name,
            len(data),
            blake3(data).hexdigest(),
            {pack.name: pack.size for pack in packs},
            packed.size + len(data),
            packed.shared,
            nonfinite,
            self._alike(),
        )

    def head(self, plan: Plan, parts: Sequence[Told]) -> CheckpointRecord:
        """Write the head; returns the record, which names it and the parts.

        Raises: as `part`.
        """
        text = TreeText(self._found.head, layouts=plan.layout_of)
        inline = [leaf for leaf in text.leaves if leaf.path not in plan.layout_of]
        writer = self._writer(0, self._is_watched)
        packed = writer.pack(self._snapshot, Layout(inline))
        nonfinite = dict(packed.nonfinite)
        for told in parts:
            for path, (nans, infs) in told.nonfinite.items():
                before = nonfinite.get(path, (0, 0))
                nonfinite[path] = before[0] + nans, before[1] + infs
        stored = StoredTree(self._found.head, text.leaves, packed.placed, packed.links)
        data = text.filled(stored, plan.layouts)
        captured = sum(leaf.size_bytes for leaf in text.leaves)
        record = writer.finish(data, replace(packed, nonfinite=nonfinite), stored, captured).record
        return replace(
            record,
            parts=tuple(told.entry for told in parts),
            bytes_written=record.bytes_written + sum(told.written for told in parts),
            bytes_shared=record.bytes_shared + sum(told.shared for told in parts),
        )

    def _writer(self, first_pack: int, is_watched: Watched) -> FileWriter:
        return FileWriter(
            *(self._disk, self._directory, self._id, self._draft, Sharing()),
            rename_links=False,
            now_s=0.0,
            is_watched=is_watched,
            first_pack=first_pack,
        )

    def _origins(
        self, share: Mapping[str, Sequence[Region]]
    ) -> tuple[dict[str, tuple[Leaf, int]], dict[tuple[str, tuple[int, ...]], Leaf]]:
        """By the path of a box to be written: what was captured, and where in it the box begins; and these boxes."""
        origins: dict[str, tuple[Leaf, int]] = {}
        found: dict[tuple[str, tuple[int, ...]], Leaf] = {}
        for box in self._found.boxes:
            for region in share.get(box.path, ()):
                if not _is_rows_of(region, box):
                    continue
                row = prod(box.shape[1:]) * item_size(box.dtype)
                first = (region.offset[0] - box.offset[0]) * row if region.shape else 0
                leaf = Leaf(box_path(box.path, region.offset), box.dtype, region.shape, kind=box.kind)
                origins[leaf.path] = box, first
                found[box.path, region.offset] = leaf
        return origins, found

    def _alike(self) -> str:
        """The digest of plain values, and of the arrays that each rank has entirely."""
        laid = {box.path: 0 for box in self._found.boxes}
        text = TreeText(self._found.head, layouts=laid)
        found = xxh3_128(text.outline)
        plain = [leaf for leaf in leaves(self._found.head) if leaf.size_bytes and leaf.path not in laid]
        for leaf in plain:
            for data in self._snapshot.pieces([_Span(leaf, 0, leaf.size_bytes)]):
                found.update(data)
        return found.hexdigest()


def _is_rows_of(region: Region, box: Box) -> bool:
    """Whether the region is some rows of what was captured."""
    if not region.shape:
        return True
    begin, end = box.offset[0], box.offset[0] + box.shape[0]
    return (
        (region.offset[1:], region.shape[1:]) == (box.offset[1:], box.shape[1:])
        and begin <= region.offset[0]
        and region.offset[0] + region.shape[0] <= end
    )
