"""A save asks of the disk exactly what docs/design.md says: a guard of speed that no busy machine can upset."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from holdfast import bundle
from holdfast.state import capture
from holdfast.storage import MemoryDisk
from holdfast.testing import CountingDisk
from tests.support.reliability.lives import LAST, Saver, draft

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
COLUMNS = {
    "syncs of files": ("sync", "sync_file"),
    "syncs of directories": ("sync_directory",),
    "files": ("create", "hold"),
    "writes": ("write", "fill"),
    "links": ("link",),
    "renames": ("rename", "rename_directory"),
    "removals": ("unlink", "rmdir"),
}


def documented() -> dict[str, dict[str, int]]:
    [table] = re.findall(r"\| what is done \|.*?\n\n", DESIGN.read_text(), re.DOTALL)
    header, _, *rows = [
        [cell.strip() for cell in row.strip("| ").split("|")] for row in table.split("\n") if row
    ]
    return {row[0]: dict(zip(header[1:], map(int, row[1:]), strict=True)) for row in rows}


def counted(act: str) -> dict[str, int]:
    disk = MemoryDisk()
    saver = Saver(disk)
    if act != "the first save":
        saver.save(1)
    counting = CountingDisk(disk)
    if act == "a save that shares a pack":
        saver.save(2, LAST, disk=counting)
    elif act == "a deletion":
        saver.evict(disk=counting)
    else:
        saver.save(2, disk=counting)
    return {name: sum(counting.done[kind] for kind in kinds) for name, kinds in COLUMNS.items()}


@pytest.mark.parametrize("act", documented())
def test_the_disk_does_no_more_than_the_design_says(act: str):
    assert counted(act) == documented()[act]


def test_a_thousand_arrays_take_as_many_operations_as_two():
    counts = []
    for number_of_arrays in (2, 1000):
        counting = CountingDisk(MemoryDisk())
        arrays = {f"layer{number}": np.full(3, number) for number in range(number_of_arrays)}
        bundle.save(counting, "runs", draft("best", 1), capture(arrays), bundle.Sharing())
        counts.append(counting.done)
    assert counts[0] == counts[1]
