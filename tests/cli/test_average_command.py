"""`holdfast average` writes a checkpoint like any other."""

import json

import numpy as np


def test_an_average_is_a_checkpoint(experiment, holdfast, tmp_path):
    places = [
        experiment.save(f"e{index}", {"w": np.full(4, index), "x": np.full(4, float(index))})
        for index in range(3)
    ]
    shown = holdfast("average", *places, "-o", tmp_path / "soup")
    assert shown.exit_code == 0
    assert "averaged 1 array of 3 checkpoints; everything else comes from " + str(places[2]) in shown.stdout
    assert holdfast("verify", tmp_path / "soup", "--deep").exit_code == 0
    assert "average of 3 checkpoints" in holdfast("show", tmp_path / "soup").stdout
    again = holdfast("average", *places, "-o", tmp_path / "soup")
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    made = holdfast(
        "average", *places, "-o", tmp_path / "soup", "--overwrite", "--weights", "0,0,1", "--json"
    )
    found = json.loads(made.stdout)
    assert found["arrays"] == ["x"]
    assert found["record"]["details"]["average"]["weights"] == [0, 0, 1]
    assert "identical, bit for bit" in holdfast("diff", places[2], tmp_path / "soup").stdout


def test_what_does_not_fit_exits_with_6_and_wrong_numbers_with_2(experiment, holdfast, tmp_path):
    a, b = experiment.save("a", {"w": np.zeros(3)}), experiment.save("b", {"w": np.zeros(4)})
    shown = holdfast("average", a, b, "-o", tmp_path / "soup")
    assert shown.exit_code == 6
    assert "float64 3" in shown.stderr
    assert holdfast("average", a, a, "-o", tmp_path / "soup", "--weights", "1;2").exit_code == 2


def test_paths_are_written_as_they_were_typed(experiment, holdfast, tmp_path, monkeypatch):
    place = experiment.save("a", {"w": np.ones(3)})
    monkeypatch.chdir(tmp_path)
    for made in (("average", place, place, "-o", "soup"), ("archive", place, "copy")):
        assert f"{made[-1]}.ckpt.mml" in holdfast(*made).stdout
        again = holdfast(*made)
        assert f"checkpoint '{made[-1]}.ckpt.mml' already exists" in again.output
        assert "./" not in again.output
