"""`holdfast show` tells all about one checkpoint without reading an array."""

import datetime
import json

import numpy as np

from holdfast.records import Moment


def test_every_fact_of_the_record_is_shown(experiment, holdfast):
    place = experiment.save(
        "best",
        kind="experiment",
        moment=Moment(run="f" * 32, hook="phase_end", phase="pretrain", step=77),
        parent="b" * 32,
        metrics={"val_loss": 0.25},
        reason="phase_end",
        versions={"torch": "2.13.0"},
        environment={"torch threads": "2"},
        commit="c" * 40,
        blocked_s=0.5,
    )
    output = holdfast("show", place).stdout
    for text in (
        *("best", str(place), "experiment", "pretrain · phase end · step 77", "f" * 32, "b" * 32, "c" * 40),
        *("val_loss 0.25", "torch 2.13.0", "torch threads: 2", "blocked training for 0.5 s", "full: on the"),
        *(file.name for file in place.iterdir() if file.name != "checkpoint.json"),
    ):
        assert text in output


def test_the_state_is_a_tree_with_shapes_types_and_sizes(experiment, holdfast):
    weight = np.zeros((128, 784), np.float32)
    place = experiment.save(
        "a",
        {"model": {"weight": weight, "tied": weight}, "epoch": 3, "rates": [0.1, 0.2], 7: None, "": "text"},
    )
    tree = holdfast("show", place).stdout.partition("state  ")[2]
    assert tree.splitlines() == [
        "1 array, 401 kB",
        "",
        "  ├── model                                        401 kB",
        "  │   ├── weight  float32               128 × 784  401 kB",
        "  │   └── tied    same as model/weight",
        "  ├── epoch       3",
        "  ├── rates       [0.1, 0.2]",
        "  ├── 7           None",
        "  └──             'text'",
    ]


def test_long_lists_and_deep_levels_are_cut_unless_all_is_requested(experiment, holdfast):
    layers = {f"layer{index:02}": {"deep": {"deeper": {"w": np.zeros(4)}}} for index in range(40)}
    place = experiment.save("a", {"model": layers})
    cut = holdfast("show", place).stdout
    assert "layer14" in cut
    assert "layer15" not in cut
    assert "… 25 more" in cut
    shallow = holdfast("show", place, "--depth", 1).stdout
    assert "40 arrays" in shallow
    assert "layer00" not in shallow
    complete = holdfast("show", place, "--all").stdout
    assert complete.count("── w ") == 40
    assert "more" not in complete


def test_any_plain_value_can_be_shown_however_large(experiment, holdfast):
    state = {
        "huge": 10**6000,
        "text": "x" * 100_000,
        "bytes": b"\x00" * 100_000,
        "set": {1, (2, "b")},
        "empty": [{}, [], ()],
        "when": datetime.datetime(2026, 3, 1, 12, 30),
        ("a", 1): float("nan"),
        "zero": np.zeros((0, 3)),
        "one": np.float64(1.5),
    }
    shown = holdfast("show", experiment.save("a", state))
    assert shown.exit_code == 0
    for text in ("an integer of 19,932 bits", "2026-03-01 12:30:00", "('a', 1)", "nan", "0 × 3", "scalar"):
        assert text in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) < 200


def test_json_has_the_record_and_every_array(experiment, holdfast):
    place = experiment.save("a", {"model": {"weight": np.zeros((2, 3), np.float16)}, "epoch": 1})
    shown = json.loads(holdfast("show", place, "--json").stdout)
    assert shown["path"] == str(place)
    assert shown["name"] == "a"
    assert shown["arrays"] == [
        {"path": "model/weight", "dtype": "float16", "shape": [2, 3], "size_bytes": 12}
    ]


def test_the_ending_of_a_bundles_name_may_be_left_out(experiment, holdfast):
    place = experiment.save("phase")
    experiment.save("phase/epoch1")  # makes a directory of the same name
    assert str(place) in holdfast("show", str(place).removesuffix(".ckpt.mml")).stdout
    assert str(place) in holdfast("show", f"{place}/").stdout


def test_a_copy_under_any_name_is_a_checkpoint_still(experiment, holdfast, tmp_path):
    copy = experiment.save("a").rename(tmp_path / "copy")
    assert holdfast("show", copy).exit_code == 0


def test_of_a_checkpoint_that_lacks_a_file_the_facts_are_shown_and_the_damage_named(experiment, holdfast):
    place = experiment.save("a", metrics={"loss": 0.5})
    pack = next(place.glob("*.safetensors"))
    pack.unlink()
    shown = holdfast("show", place)
    assert shown.exit_code == 1
    assert "loss 0.5" in shown.stdout
    assert f"{pack.name} is missing" in shown.stderr
    assert holdfast("show", place, "--json").stdout == ""


def test_what_is_no_checkpoint_is_said_to_be_none(experiment, holdfast, tmp_path):
    experiment.save("a")
    (tmp_path / "file").touch()
    for place in (experiment.directory, tmp_path / "file", tmp_path / "nowhere"):
        shown = holdfast("show", place)
        assert shown.exit_code == 2
        assert str(place) in shown.stderr
