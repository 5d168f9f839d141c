"""Who writes what: decided once, over the boxes that all ranks claim to hold. No disk, no clock, no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from ...dtypes import item_size
from .._format.boxes import Laid, Layout, Region, Shape, check_tiles

SPLIT_BYTES = 1 << 20  # for each of its holders, a box of so many bytes is split among them


class Claim(NamedTuple):
    """A rank holds this box of the array at `path`."""

    path: str
    dtype: str
    of: Shape
    region: Region


@dataclass(frozen=True, slots=True)
class Plan:
    """`layouts` of arrays by their path in `layout_of`; `shares` says for each rank which boxes of which arrays it writes."""

    layouts: Sequence[Layout]
    layout_of: Mapping[str, int]
    shares: Sequence[Mapping[str, Sequence[Region]]]


@dataclass(slots=True)
class _Held:
    """A box, and the ranks that hold it."""

    claim: Claim
    ranks: list[int] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return prod(self.claim.region.shape) * item_size(self.claim.dtype)


def plan(paths: Sequence[str], claims: Sequence[Sequence[Claim]]) -> Plan:
    """Each box is written by one of the ranks that hold it, or a part of it by each; so that all write about as much.

    `paths`: of the arrays that have boxes, in the order of the head. `claims`: those of each rank.

    Raises:
        ValueError: the ranks do not agree on an array, or their boxes do not tile it; it says which.
    """
    arrays: dict[str, tuple[Claim, int]] = {}
    held: dict[tuple[str, Region], _Held] = {}
    for rank, mine in enumerate(claims):
        for claim in mine:
            first, by = arrays.setdefault(claim.path, (claim, rank))
            if (first.dtype, first.of) != (claim.dtype, claim.of):
                raise ValueError(
                    f"{claim.path!r} is an array {first.dtype} {list(first.of)} on rank {by}, and "
                    f"{claim.dtype} {list(claim.of)} on rank {rank}"
                )
            held.setdefault((claim.path, claim.region), _Held(claim)).ranks.append(rank)
    if unclaimed := {*paths} ^ arrays.keys():
        here = "on rank 0, and no rank has items of it" if unclaimed <= {*paths} else "on other ranks than 0"
        raise ValueError(f"the array {min(unclaimed)!r} is only {here}")
    laid: dict[str, list[Laid]] = {path: [] for path in paths}
    written = [0] * len(claims)
    for each in sorted(
        held.values(), key=lambda each: (-each.size_bytes, each.claim.path, each.claim.region)
    ):
        for rank, region in _assigned(each, written):
            laid[each.claim.path].append(Laid(rank, region))
            written[rank] += prod(region.shape) * item_size(each.claim.dtype)
    return _checked(laid, arrays, len(claims))


def _assigned(held: _Held, written: Sequence[int]) -> list[tuple[int, Region]]:
    """Which rank writes the box; if it is large, several write some rows each."""
    ranks, region = held.ranks, held.claim.region
    rows = region.shape[0] if region.shape else 1
    if len(ranks) == 1 or held.size_bytes < SPLIT_BYTES * len(ranks) or rows < len(ranks):
        return [(min(ranks, key=lambda rank: written[rank]), region)]
    ends = [rows * (index + 1) // len(ranks) for index in range(len(ranks))]
    return [
        (
            rank,
            Region(
                (region.offset[0] + begin, *region.offset[1:]),
                (end - begin, *region.shape[1:]),
            ),
        )
        for rank, begin, end in zip(ranks, [0, *ends], ends, strict=False)
    ]


def _checked(laid: Mapping[str, list[Laid]], arrays: Mapping[str, tuple[Claim, int]], ranks: int) -> Plan:
    layouts: dict[Layout, int] = {}
    shares: list[dict[str, list[Region]]] = [{} for _ in range(ranks)]
    layout_of: dict[str, int] = {}
    for path, boxes in laid.items():
        boxes.sort(key=lambda each: each.region.offset)
        shape = arrays[path][0].of
        layout = Layout(shape, tuple(boxes))
        if layout not in layouts:
            try:
                check_tiles(shape, [each.region for each in boxes])
            except ValueError as err:
                raise ValueError(
                    f"what the ranks hold of {path!r} does not make up the array: {err}"
                ) from None
        layout_of[path] = layouts.setdefault(layout, len(layouts))
        for rank, region in boxes:
            shares[rank].setdefault(path, []).append(region)
    return Plan([*layouts], layout_of, shares)
