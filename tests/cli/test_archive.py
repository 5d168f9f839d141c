"""`holdfast archive` copies a checkpoint completely, and says how large it has become."""

from __future__ import annotations

import json

import numpy as np
import pytest

from holdfast.checkpoint import open as open_checkpoint


def test_a_copy_is_made_and_named(experiment, holdfast):
    place = experiment.save("epoch1")
    done = holdfast("archive", str(place), str(experiment.directory / "kept"))
    assert done.exit_code == 0, done.output
    assert f"{experiment.directory}/kept.ckpt.mml: 2" in done.output
    with open_checkpoint(experiment.directory / "kept.ckpt.mml") as copy, open_checkpoint(place) as original:
        assert copy.verify(deep=True) == []
        assert np.array_equal(copy["frozen"], original["frozen"])
        assert copy.record.parent == original.record.id


def test_a_taken_name_is_left_alone_unless_told_otherwise(experiment, holdfast):
    first, second = experiment.save("epoch1"), experiment.save("epoch2")
    assert holdfast("archive", str(first), str(second)).exit_code == 2
    assert holdfast("archive", str(first), str(second), "--overwrite").exit_code == 0
    with open_checkpoint(second) as copy:
        assert copy.load()["weight"].tolist() == [1] * 10


def test_a_damaged_checkpoint_is_not_copied(experiment, holdfast):
    place = experiment.save("epoch1")
    experiment.rot(place, "weight")
    done = holdfast("archive", str(place), str(experiment.directory / "kept"))
    assert done.exit_code == 1
    assert not (experiment.directory / "kept.ckpt.mml").exists()


def test_compressed_copies_are_smaller_and_read_by_every_command(experiment, holdfast):
    pytest.importorskip("zstandard")
    place = experiment.save("epoch1")
    copy = str(experiment.directory / "small")
    assert holdfast("archive", str(place), copy, "-z").exit_code == 0
    with open_checkpoint(f"{copy}.ckpt.mml") as small, open_checkpoint(place) as large:
        assert small.record.size_bytes < large.record.size_bytes / 2
        assert np.array_equal(small["frozen"], large["frozen"])
    assert holdfast("verify", f"{copy}.ckpt.mml", "--deep").exit_code == 0
    assert holdfast("show", copy).exit_code == 0


def test_json_says_where_the_copy_is_and_how_large(experiment, holdfast):
    place = experiment.save("epoch1")
    said = json.loads(holdfast("archive", str(place), str(experiment.directory / "kept"), "--json").stdout)
    with open_checkpoint(said["path"]) as copy:
        assert said["id"] == copy.record.id
        assert said["size_bytes"] == copy.record.size_bytes
        assert said["array_bytes"] == sum(array.nbytes for array in copy.load().values())
