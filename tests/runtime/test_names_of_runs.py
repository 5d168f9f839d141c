"""What is kept for a run has its id for a name, and an id may come from a stranger's record."""

from __future__ import annotations

from dataclasses import replace

import pytest

import holdfast
from holdfast import bundle
from holdfast.checkpoint import scan
from holdfast.runtime._claim import file_of, note_run, noted_runs
from holdfast.runtime._resuming.next_batches import NextBatches
from holdfast.storage import LocalDisk

STRANGE = ["../../outside", "/outside", "..", ".", "", "a/b", "x" * 300, "A" * 32, "\ud800", "\0"]


def test_an_id_of_ours_is_its_own_name():
    run = bundle.new_id()
    assert file_of(run) == run


@pytest.mark.parametrize("run", STRANGE)
def test_nothing_is_made_elsewhere(run, tmp_path):
    path, disk = tmp_path / "a" / "b", LocalDisk()
    note_run(disk, str(path), run)
    assert file_of(run) in noted_runs(disk, str(path))
    (tmp_path / "saved").mkdir()
    holdfast.save(tmp_path / "saved" / "x", {"x": 1})
    (saved,) = scan(tmp_path / "saved")
    record = replace(saved.record, moment=replace(saved.record.moment, run=run))
    notes = NextBatches(disk, str(path))
    notes.saved(record)
    notes.came("digest")
    assert NextBatches(disk, str(path)).after(record) == "digest"
    assert {each.name for each in tmp_path.iterdir()} == {"a", "saved"}
    assert {each.name for each in path.parent.iterdir()} == {"b"}
    assert [each.name for each in (path / ".next_batches").iterdir()] == [file_of(run)]
