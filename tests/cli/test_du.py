"""`holdfast du` counts real bytes: a file that several checkpoints share counts once."""

import json
import os
import shutil

import numpy as np
import pytest


def du(holdfast, place):
    return json.loads(holdfast("du", place, "--json").stdout)


@pytest.fixture
def places(experiment):
    """Three that share 240 kB, two of them in one folder, and one that shares nothing."""
    shared = [experiment.save(name) for name in ("one/a", "one/b", "two/c")]
    return [*shared, experiment.save("two/alone", {"w": np.ones(50_000)})]


def test_the_total_is_what_the_disk_says(places, holdfast, experiment):
    found = du(holdfast, experiment.directory)
    files = {}
    for place in places:
        for file in place.iterdir():
            files[file.stat().st_ino] = file.stat()
    assert found["size_bytes"] == sum(about.st_size for about in files.values())
    assert found["allocated_bytes"] == sum(about.st_blocks * 512 for about in files.values())
    assert found["copies_bytes"] == sum(file.stat().st_size for place in places for file in place.iterdir())
    assert found["frees_bytes"] == found["unique_bytes"] == found["size_bytes"]


def test_what_a_deletion_would_free_is_what_it_frees(places, holdfast, experiment):
    def free():
        return sum(
            file.st_size
            for file in {
                f.stat().st_ino: f.stat() for f in experiment.directory.rglob("*") if f.is_file()
            }.values()
        )

    for place in places:
        before = free()
        said = next(
            each for each in du(holdfast, experiment.directory)["checkpoints"] if each["path"] == str(place)
        )
        assert said["unique_bytes"] + said["shared_bytes"] == said["size_bytes"]
        holdfast("rm", place, "--yes")
        assert before - free() == said["frees_bytes"]
    assert free() == 0


def test_a_folder_is_more_than_the_sum_of_what_its_checkpoints_would_free(places, holdfast, experiment):
    (places[2] / "x").touch()
    one, two = du(holdfast, experiment.directory)["folders"]
    assert (one["checkpoints"], two["checkpoints"]) == (2, 2)
    assert one["shared_bytes"] > 240_000  # with the third
    holdfast("rm", places[2], "--yes")
    [one, _] = du(holdfast, experiment.directory)["folders"]
    assert one["shared_bytes"] == 0
    assert one["frees_bytes"] == one["size_bytes"] > 240_000


def test_files_that_have_names_elsewhere_free_nothing(places, holdfast, experiment, tmp_path):
    shutil.copytree(places[3], tmp_path / "backup", copy_function=os.link)
    found = next(
        each
        for each in du(holdfast, experiment.directory)["checkpoints"]
        if each["path"].endswith("alone.ckpt.mml")
    )
    assert (found["frees_bytes"], found["unique_bytes"]) == (0, found["size_bytes"])
    shown = holdfast("du", experiment.directory)
    assert "are also linked from elsewhere, and would remain" in shown.stdout


def test_people_get_a_table_by_folder(places, holdfast, experiment):
    lines = holdfast("du", experiment.directory).stdout.splitlines()
    assert lines[0].split() == ["name", "size", "unique", "shared", "frees"]
    assert [line.split()[0] for line in lines[1:7]] == ["one/", "a", "b", "two/", "c", "alone"]
    assert "complete copies would take" in lines[-1]


def test_nothing_is_nothing(holdfast, tmp_path):
    assert du(holdfast, tmp_path)["checkpoints"] == []
    assert "There are no checkpoints" in holdfast("du", tmp_path).stderr
    assert holdfast("du", tmp_path / "nowhere").exit_code == 2
