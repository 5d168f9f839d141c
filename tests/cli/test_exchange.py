"""`holdfast export` and `holdfast import`: to plain files and back."""

import json

import numpy as np
import safetensors.numpy


def test_a_checkpoint_goes_out_and_comes_back(experiment, holdfast, tmp_path):
    place = experiment.save("a", {"model": {"weight": np.arange(4.0)}, "lr": 0.1})
    shown = holdfast("export", place, tmp_path / "a.safetensors", "--prefix", "model")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [f"wrote {tmp_path}/a.safetensors: 136 B", "1 array"]
    assert list(safetensors.numpy.load_file(tmp_path / "a.safetensors")["weight"]) == [0, 1, 2, 3]
    shown = holdfast("import", tmp_path / "a.safetensors", tmp_path / "b")
    assert shown.stdout == f"wrote {tmp_path}/b.ckpt.mml: 32 B of arrays from {tmp_path}/a.safetensors\n"
    assert "import of a.safetensors" in holdfast("show", tmp_path / "b").stdout


def test_export_has_one_name_and_says_how_live_objects_are_restored(holdfast):
    assert holdfast("restore", "a", "a.npz").exit_code == 2
    assert "checkpoint.restore()" in holdfast("export", "--help", env={"COLUMNS": "200"}).stdout


def test_json_names_what_was_written(experiment, holdfast, tmp_path):
    place = experiment.save("a", {f"w{index}": np.zeros(1000) for index in range(3)} | {"lr": 1})
    options = ("--shard-size", "10KB", "--json")
    done = json.loads(holdfast("export", place, tmp_path / "m.safetensors", *options).stdout)
    assert [file.rpartition("/")[2] for file in done["files"]] == [
        *(f"m-0000{n}-of-00003.safetensors" for n in (1, 2, 3)),
        "m.safetensors.index.json",
    ]
    assert (done["arrays"], done["tied"], done["left_out"]) == (["w0", "w1", "w2"], {}, 1)
    made = json.loads(
        holdfast("import", tmp_path / "m.safetensors.index.json", tmp_path / "b", "--json").stdout
    )
    assert made["path"] == f"{tmp_path}/b.ckpt.mml"
    assert made["record"]["reason"] == "import of m.safetensors.index.json"


def test_exit_codes_say_whose_fault_it_is(experiment, holdfast, tmp_path):
    place = experiment.save("a")
    (tmp_path / "bad.npz").write_text("no zip")
    (tmp_path / "there.npz").touch()
    assert holdfast("export", place, tmp_path / "there.npz").exit_code == 2
    assert holdfast("export", place, tmp_path / "a.zip").exit_code == 2
    assert holdfast("export", place, tmp_path / "a.safetensors", "--shard-size", "much").exit_code == 2
    assert holdfast("import", tmp_path / "bad.npz", tmp_path / "b").exit_code == 7
    experiment.rot(place, "weight")
    assert holdfast("export", place, tmp_path / "a.npz").exit_code == 1
