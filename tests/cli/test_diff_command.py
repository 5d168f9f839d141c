"""`holdfast diff` shows what changed most first, cuts long lists, and says all in JSON."""

import json
from decimal import Decimal

import numpy as np

from tests.support.small_runs import bundles, experiment, on_disk, train


def test_two_moments_of_a_real_run_differ_where_they_should(holdfast, tmp_path):
    experiment(tmp_path, train(checkpointing=on_disk())).run()
    first, *_, last = bundles(tmp_path / "train")
    shown = holdfast("diff", tmp_path / "train" / first, tmp_path / "train" / last)
    assert shown.exit_code == 0
    for text in (
        "moment.epoch",
        "0 → 2",
        "metrics.loss",
        "param_groups/0/lr",
        "model_graph/head/bias",
        "100%",
    ):
        assert text in shown.stdout
    found = json.loads(
        holdfast("diff", tmp_path / "train" / first, tmp_path / "train" / last, "--json").stdout
    )
    assert not found["same_state"]
    assert found["facts"][0] == {"path": "moment.epoch", "old": 0, "new": 2}
    weight = next(each for each in found["arrays"] if each["path"] == "model_graph/body/0.weight")
    assert weight["dtypes"] == ["float32", "float32"]
    assert weight["shapes"] == [[8, 4], [8, 4]]
    assert (weight["size"], weight["same"], weight["read"]) == (32, False, True)
    assert 0 < weight["relative"] < 10


def test_equal_states_are_said_to_be_so(experiment, holdfast):
    a, b = experiment.save("a", {"w": np.ones(3)}), experiment.save("b", {"w": np.ones(3)})
    assert "The states are identical, bit for bit (1 array)." in holdfast("diff", a, b).stdout
    assert json.loads(holdfast("diff", a, b, "--json").stdout)["same_state"]


def test_long_lists_are_cut_unless_all_is_requested(experiment, holdfast):
    a = experiment.save("a", {f"w{index:02}": np.full(2, 1.0) for index in range(40)} | {"x": np.ones(1)})
    b = experiment.save("b", {f"w{index:02}": np.full(2, 2.0) for index in range(40)} | {"x": np.ones(1)})
    cut, complete = holdfast("diff", a, b).stdout, holdfast("diff", a, b, "--all").stdout
    assert "arrays: 40 changed, 1 unchanged" in cut
    assert "… 24 more (--all shows them)" in cut
    assert complete.count("  w") == 40
    assert "same" in complete.splitlines()[-1]


def test_non_finite_arrays_other_types_and_other_shapes_stand_out(experiment, holdfast):
    a = experiment.save(
        "a", {"sick": np.ones(2), "shape": np.ones((2, 3)), "type": np.ones(2), "gone": 1 << 9999}
    )
    new = {
        "sick": np.array([1, np.nan]),
        "shape": np.ones(6),
        "type": np.ones(2, np.float32),
        "come": [np.ones(2)],
    }
    shown = holdfast("diff", a, b := experiment.save("b", new))
    lines = shown.stdout.splitlines()
    assert "2 × 3 → 6" in next(line for line in lines if line.startswith("  shape"))
    assert "0 → 1 nan" in next(line for line in lines if line.startswith("  sick"))
    assert "float64 → float32" in next(line for line in lines if line.startswith("  type"))
    assert any(line.startswith("  gone") and "an integer of 10,000 bits" in line for line in lines)
    assert any(line.startswith("  come/0") for line in lines)
    found = json.loads(holdfast("diff", a, b, "--json").stdout)
    assert found["arrays"][0]["changed"] is None
    assert found["only_in_b"] == [{"path": "come/0", "value": {"array": {"dtype": "float64", "shape": [2]}}}]


def test_a_damaged_checkpoint_is_no_difference(experiment, holdfast):
    a, b = experiment.save("a"), experiment.save("b")
    experiment.rot(b, "weight")
    shown = holdfast("diff", a, b)
    assert shown.exit_code == 1
    assert "leaf 'weight' is damaged" in shown.stderr
    assert holdfast("diff", a, "nowhere").exit_code == 2


def test_values_of_objects_are_shown(experiment, holdfast):
    shown = holdfast(
        "diff", a := experiment.save("a", {"d": Decimal(1)}), b := experiment.save("b", {"d": Decimal(2)})
    )
    assert "Decimal '1' → Decimal '2'" in shown.stdout
    [change] = json.loads(holdfast("diff", a, b, "--json").stdout)["values"]
    assert "2" in json.dumps(change)
