"""Boxes tile arrays, whatever meshes and placements made them; and N to M processes is slicing the array."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.bundle._format.boxes import Region, check_tiles, common, run_regions
from holdfast.bundle._sharded.plan import SPLIT_BYTES, Claim, plan
from holdfast.records import Box
from holdfast.storage import MemoryDisk
from tests.support.crews import opened, save_boxes


def chunks(extent: int, number: int) -> list[tuple[int, int]]:
    """As `torch.chunk` cuts: (offset, extent) for each, the last ones empty if there are too few."""
    size = -(-extent // number)
    return [(min(index * size, extent), max(0, min(size, extent - index * size))) for index in range(number)]


SHAPES = st.lists(st.integers(1, 9), min_size=0, max_size=3).map(tuple)


@st.composite
def regions_of(draw: st.DrawFn, shape: tuple[int, ...], most_ranks: int = 6) -> list[Region]:
    """What each rank of some mesh has of an array: each axis of the mesh shards an axis of it, or replicates."""
    mesh = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3).filter(lambda m: prod(m) <= most_ranks))
    placements = [draw(st.sampled_from([None, *range(len(shape))])) for _ in mesh]
    regions = []
    for place in itertools.product(*map(range, mesh)):
        offset, extents = [0] * len(shape), list(shape)
        for axis, number, index in zip(placements, mesh, place, strict=True):
            if axis is not None:
                begin, extent = chunks(extents[axis], number)[index]
                offset[axis], extents[axis] = offset[axis] + begin, extent
        regions.append(Region(tuple(offset), tuple(extents)))
    return regions


@pytest.mark.medium
@given(st.data(), SHAPES, st.sampled_from([4, SPLIT_BYTES]))
@settings(max_examples=150)
def test_what_the_ranks_of_any_mesh_write_tiles_the_array(data, shape, item_bytes):
    regions = data.draw(regions_of(shape))
    dtype = "float32" if item_bytes == 4 else f"<U{item_bytes // 4}"  # large items: boxes are split
    claims = [[Claim("a", dtype, shape, region)] if prod(region.shape) else [] for region in regions]
    planned = plan(["a"], claims)
    layout = planned.layouts[planned.layout_of["a"]]
    check_tiles(shape, [laid.region for laid in layout.boxes])
    counts = np.zeros(shape, int)
    for rank, region in layout.boxes:
        counts[tuple(slice(o, o + s) for o, s in zip(*region, strict=True))] += 1
        assert common(region, regions[rank]) == region, "a rank writes only what it has"
    assert (counts == 1).all()
    assert sum(len(share.get("a", ())) for share in planned.shares) == len(layout.boxes)


@pytest.mark.medium
@given(st.data(), SHAPES)
@settings(max_examples=25)
def test_any_mesh_reads_what_any_other_has_saved_as_slices_of_the_array(data, shape):
    saving, reading = data.draw(regions_of(shape, 4)), data.draw(regions_of(shape, 4))
    array = np.arange(prod(shape), dtype=np.float64).reshape(shape)
    disk = MemoryDisk()
    results = save_boxes(disk, [{"a": region} for region in saving], {"a": array})
    assert not [each for each in results if isinstance(each, Exception)], results
    with opened(disk) as found:
        for offset, extents in reading:
            wanted = Box("a", "float64", extents, of=shape, offset=offset)
            out = np.empty(wanted.size_bytes, np.uint8)
            found.read_into(wanted, out)
            cut = array[tuple(slice(o, o + s) for o, s in zip(offset, extents, strict=True))]
            assert out.tobytes() == cut.tobytes()


@given(st.lists(st.integers(1, 6), min_size=0, max_size=4), st.data())
@settings(max_examples=200)
def test_a_run_of_items_is_boxes_one_after_the_other(shape, data):
    number = prod(shape)
    first = data.draw(st.integers(0, number))
    last = data.draw(st.integers(first, number))
    items = np.arange(number).reshape(shape)
    found = [
        items[tuple(slice(o, o + s) for o, s in zip(*region, strict=True))].reshape(-1)
        for region in run_regions(first, last, tuple(shape))
    ]
    assert np.concatenate([*found, np.empty(0, int)]).tolist() == list(range(first, last))
    assert len(found) <= 2 * len(shape) + 1


@pytest.mark.parametrize(
    ("shape", "boxes"),
    [
        ((4, 4), [((0, 0), (4, 2)), ((0, 1), (4, 2))]),  # overlap
        ((4, 4), [((0, 0), (4, 2))]),  # a gap
        ((4, 4), [((0, 0), (4, 2)), ((0, 2), (4, 3))]),  # beyond
        ((4, 4), [((0, 0), (4, 4)), ((1, 1), (0, 1))]),  # an empty one
        ((4, 4), [((0, 0), (4, 4)), ((-1, 0), (1, 1))]),
        ((4,), [((0, 0), (4, 1))]),  # another number of axes
        ((), [((), ()), ((), ())]),
        # A pinwheel tiles the array, but no plane separates its boxes.
        ((3, 3), [((0, 0), (1, 2)), ((0, 2), (2, 1)), ((2, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 1), (1, 1))]),
    ],
)
def test_boxes_that_do_not_tile_are_refused(shape, boxes):
    with pytest.raises(ValueError, match="box"):
        check_tiles(shape, [Region(*each) for each in boxes])


def test_many_boxes_are_checked_in_no_time():
    rows = [Region((row, column), (1, 1)) for row in range(250) for column in range(250)]
    check_tiles((250, 250), rows)
    # Each round separates two of these staircase steps: refused, before it takes long.
    steps = [Region((i, i), (1, 400 - i)) for i in range(400)] + [
        Region((i + 1, i), (399 - i, 1)) for i in range(399)
    ]
    with pytest.raises(ValueError, match="overlap"):
        check_tiles((400, 400), steps)
