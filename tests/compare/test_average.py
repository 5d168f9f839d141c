"""`holdfast.average` is the mean to the last bit that the dtype has, and leaves alone what is no weight."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

import holdfast
from holdfast import Write
from holdfast.bundle import Bundle
from holdfast.compare import FiniteCheck
from holdfast.errors import CheckpointExistsError, PieceDamagedError, StatesDifferError, UsageError
from holdfast.storage import LocalDisk
from tests.support import peak_memory
from tests.support.small_runs import bundles, experiment, graph, on_disk, train


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "complex64", ">f4"]
)
def test_the_average_is_that_in_float64_rounded_once(save, tmp_path, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    draw = np.random.default_rng(0)
    parts = [draw.normal(size=(300, 7)).astype(kind) for _ in range(3)]
    places = [save(f"c{index}", {"w": part}) for index, part in enumerate(parts)]
    made = holdfast.average(places, tmp_path / "soup", weights=[1, 2, 5])
    wide = np.complex128 if kind.kind == "c" else np.float64
    expected = sum(weight * part.astype(wide) for weight, part in zip([1, 2, 5], parts, strict=True)) / 8
    with holdfast.open(made.path) as opened:
        assert opened["w"].dtype == kind
        np.testing.assert_array_equal(opened["w"].view(np.uint8), expected.astype(kind).view(np.uint8))
        assert opened.verify(deep=True) == []
        assert opened.record.details["average"]["weights"] == [1, 2, 5]


def test_the_average_of_a_checkpoint_with_itself_is_itself(save, tmp_path):
    value = np.random.default_rng(0).normal(size=1_200_000).astype(np.float32)  # more than one piece
    place = save("a", {"w": value, "f": np.asfortranarray(value[:600].reshape(20, 30))})
    made = holdfast.average([place] * 3, tmp_path / "same.ckpt.mml")
    assert holdfast.diff(place, made.path).same_state


def test_of_a_real_run_the_weights_are_averaged_and_all_else_is_the_newests(tmp_path):
    experiment(tmp_path, train(checkpointing=on_disk())).run()
    places = [f"{tmp_path}/train/{name}.ckpt.mml" for name in bundles(tmp_path / "train")]
    made = holdfast.average(places[::-1], tmp_path / "soup")
    assert made.rest_from == places[-1]
    names = ("body/0.weight", "body/0.bias", "head/weight", "head/bias")
    assert made.paths == tuple(f"model_graph/{name}" for name in names)
    changed = {change.path for change in holdfast.diff(places[-1], made.path).changed}
    assert changed == set(made.paths)
    fresh = graph(seed=1)
    with holdfast.open(made.path) as opened:
        opened.restore({"model_graph": fresh})
    weights = [holdfast.open(place)["model_graph/head/weight"].double() for place in places]
    expected = (sum(weights) / 3).float()
    assert torch.equal(fresh["head"].model.weight, expected)


def test_of_a_loop_that_logs_the_objects_are_averaged(tmp_path):
    weight = np.zeros(3)
    policy = holdfast.Checkpointing(mode="disk", write=Write(durability="process"))
    with holdfast.Run(tmp_path, {"weight": weight}, checkpointing=policy) as run:
        for epoch in run.epochs(3):
            weight += 1
            run.log(**({"loss": 0.5} if epoch else {"other": 1.0}))  # a column with gaps
    found = [tmp_path / f"train_epoch{epoch}.ckpt.mml" for epoch in range(3)]
    made = holdfast.average(found, tmp_path / "soup")
    assert made.paths == ("weight",)
    with holdfast.open(made.path) as opened:
        assert opened.load()["weight"].tolist() == [2, 2, 2]
    with Bundle(LocalDisk(), str(found[-1])) as newest:
        assert FiniteCheck().first_nonfinite(newest) is None  # the gaps of the columns are meant to be NaN


def test_a_run_that_resumes_beside_an_average_resumes_from_its_own_newest(tmp_path):
    experiment(tmp_path, train(checkpointing=on_disk())).run()
    places = [f"{tmp_path}/train/{name}.ckpt.mml" for name in bundles(tmp_path / "train")]
    holdfast.average(places, tmp_path / "train" / "soup")
    again = experiment(tmp_path, train(n_epochs=4, checkpointing=on_disk(max_to_keep=1)))
    again.run(resume=True)
    assert again.last_resume.path == places[-1]
    assert "soup" in bundles(tmp_path / "train")


def test_integers_are_those_of_the_newest_and_only_chooses_others(save, tmp_path):
    a = save("a", {"w": np.zeros(2), "num_batches_tracked": np.array(10), "m": np.zeros(2)})
    b = save("b", {"w": np.ones(2), "num_batches_tracked": np.array(20), "m": np.ones(2)})
    with holdfast.open(holdfast.average([b, a], tmp_path / "all").path) as opened:
        assert opened["num_batches_tracked"] == 20
        assert list(opened["w"]) == list(opened["m"]) == [0.5, 0.5]
    with holdfast.open(holdfast.average([a, b], tmp_path / "one", only="w").path) as opened:
        assert (list(opened["w"]), list(opened["m"])) == ([0.5, 0.5], [1, 1])


def test_tied_weights_stay_tied(save, tmp_path):
    for name, weight in (("a", np.zeros(3)), ("b", np.ones(3))):
        save(name, {"w": weight, "tied": weight})
    places = [f"{tmp_path}/runs/{name}.ckpt.mml" for name in "ab"]
    with holdfast.open(holdfast.average(places, tmp_path / "soup").path) as opened:
        state = opened.load()
    assert state["w"] is state["tied"]


@pytest.mark.parametrize(
    "other", [{"w": np.zeros(3)}, {"w": np.zeros(2, "f4")}, {}, {"w": np.zeros(2), "x": np.zeros(1)}]
)
def test_states_that_do_not_fit_each_other_are_refused_and_nothing_is_written(save, tmp_path, other):
    a, b = save("a", {"n": 1} | other), save("b", {"w": np.zeros(2), "n": 1})
    with pytest.raises(StatesDifferError, match=r"the states do not fit each other[^!]*\b[wx]: "):
        holdfast.average([a, b], tmp_path / "soup")
    assert not (tmp_path / "soup.ckpt.mml").exists()


def test_damage_and_wrong_use_leave_nothing_behind(save, tmp_path):
    a, b = save("a", {"w": np.zeros(500)}), save("b", {"w": np.ones(500)})
    for wrong in (
        {"weights": [1]},
        {"weights": [1, -1]},
        {"weights": [float("nan"), 1]},
        {"only": "nothing"},
    ):
        with pytest.raises(UsageError):
            holdfast.average([a, b], tmp_path / "soup", **wrong)
    with pytest.raises(UsageError):
        holdfast.average([a], tmp_path / "soup")
    with pytest.raises(CheckpointExistsError):
        holdfast.average([a, b], b)
    [pack] = (tmp_path / "runs" / "a.ckpt.mml").glob("*.safetensors")
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    with pytest.raises(PieceDamagedError):
        holdfast.average([a, b], tmp_path / "soup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_every_piece_is_read_once_so_what_was_digested_is_what_is_written(save, tmp_path, monkeypatch):
    places = [
        save(name, {"w": np.full(2_100_000, value, np.float32)}) for name, value in (("a", 1), ("b", 3))
    ]
    read = []
    original = holdfast.bundle.Bundle.read_piece
    monkeypatch.setattr(
        holdfast.bundle.Bundle, "read_piece", lambda *args: (read.append(args[2].start), original(*args))
    )
    holdfast.average(places, tmp_path / "soup")
    assert sorted(read) == sorted([0, 4 << 20, 8 << 20] * 2)


@pytest.mark.slow
def test_large_states_are_averaged_in_little_memory(save, tmp_path):
    value = np.random.default_rng(0).normal(size=1_000_003).astype(np.float32)
    places = [save(name, {"w": np.resize(value * step, 50_000_000)}) for step, name in enumerate("abc")]
    [grown] = peak_memory.run(
        "import holdfast, holdfast.compare\n"
        "before = peak_bytes(); holdfast.average(sys.argv[1:4], sys.argv[4]); print(peak_bytes() - before)",
        *(*places, tmp_path / "soup"),
    )
    assert 0 < grown < 200 << 20  # of 600 MB
