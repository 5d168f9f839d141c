"""NaN and infinity are found while a save is digested, and the record names the arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import holdfast
from holdfast import Checkpointing, Divergence, Run, Write, numerics
from holdfast.cli import app
from tests.support.small_runs import At, on_disk, train
from tests.support.small_runs import experiment as make

LARGE = 40_000  # floats: above 64 KiB, so that the array is shared when it does not change


def saved(directory, *states, **options):
    """A run that saves each state, one an epoch; the records."""
    policy = Checkpointing(
        mode="disk", save_on="epoch_end", **{"write": Write(durability="process"), **options}
    )
    with Run(directory, {"objects": dict(states[0])}, checkpointing=policy) as run:
        for epoch in run.epochs(len(states)):
            run["objects"] = dict(states[epoch])
    return [listed.record for listed in holdfast.scan(directory)][: len(states)]


def shown(*arguments) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_array_that_is_not_finite_is_named_with_its_counts(tmp_path):
    good, bad = np.ones(8, np.float32), np.array([1, np.nan, np.inf, -np.inf, np.nan], np.float32)
    finite, non_finite = saved(tmp_path, {"a": good, "b": good}, {"a": good, "b": bad})
    assert "health" not in finite.details
    assert non_finite.details["health"] == {"sick": 1, "leaves": {"objects/b": [2, 2]}}


def test_counts_of_all_pieces_of_a_large_array_are_added(tmp_path):
    large = np.zeros((3, 1 << 20), np.float32)
    large[0, 5] = large[2, 7] = np.nan
    large[1, 6] = np.inf
    [record] = saved(tmp_path, {"large": large})
    assert record.details["health"]["leaves"] == {"objects/large": [2, 1]}


def test_an_array_whose_bytes_are_only_linked_is_as_non_finite_as_before(tmp_path):
    non_finite = np.full(LARGE, np.nan, np.float32)
    first, second = saved(tmp_path, {"a": non_finite, "n": np.zeros(1)}, {"a": non_finite, "n": np.ones(1)})
    assert second.bytes_shared >= non_finite.nbytes
    assert (
        first.details["health"]
        == second.details["health"]
        == {
            "sick": 1,
            "leaves": {"objects/a": [LARGE, 0]},
        }
    )


def test_at_most_a_hundred_arrays_are_named_and_all_are_counted(tmp_path):
    [record] = saved(tmp_path, {f"{n:03d}": np.full(2, np.nan) for n in range(150)})
    assert record.details["health"]["sick"] == 150
    assert len(record.details["health"]["leaves"]) == 100


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "float8_e4m3fn", "float8_e5m2"]
)
def test_every_element_type_is_looked_at(dtype, background, tmp_path):
    tensor = torch.ones(4, 3).to(getattr(torch, dtype))
    fine, non_finite = saved(
        tmp_path,
        {"t": tensor},
        {"t": _with_nan(tensor)},
        write=Write(durability="process", background=background),
    )
    assert "health" not in fine.details
    assert non_finite.details["health"]["leaves"] == {"objects/t": [1, 0]}


def _with_nan(tensor: torch.Tensor) -> torch.Tensor:
    wide = tensor.clone().to(torch.complex64 if tensor.is_complex() else torch.float32)
    wide[1, 2] = float("nan")
    return wide.to(tensor.dtype)


FLOATS = [
    *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128", ">f4", ">f8"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_quick_look_agrees_with_widening_for_every_bit_pattern(dtype):
    random = np.random.default_rng(0)
    size = holdfast.records.dtypes.item_size(dtype)
    complete = np.arange(0, 1 << 16, 3, dtype="<u2") if size == 2 else np.arange(256, dtype=np.uint8)
    items = complete.view(np.uint8) if size <= 2 else random.bytes(size * 1024)
    raw = np.frombuffer(bytes(items), np.uint8).reshape(-1, size)
    if size > 2:  # random bits are hardly ever special: some are, on purpose
        special = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-310, 1.0, -3.4e38])
        wanted = special.astype(np.complex128) if "complex" in dtype else special
        narrow = numerics.narrow(wanted, dtype).reshape(-1, size)
        raw = np.concatenate([raw, narrow])
    for item in raw:
        values = numerics.widen(item, dtype)
        assert numerics.all_finite(item, dtype) == bool(np.isfinite(values).all()), item
    complete = numerics.widen(raw.reshape(-1), dtype)
    assert numerics.count_nonfinite(raw.reshape(-1), dtype) == (
        np.count_nonzero(np.isnan(complete)),
        np.count_nonzero(np.isinf(complete)),
    )


def test_results_with_gaps_and_positions_are_not_non_finite(tmp_path):
    policy = Checkpointing(mode="disk", save_on="epoch_end", write=Write(durability="process"))
    with Run(tmp_path, {"a": np.zeros(1)}, checkpointing=policy) as run:
        for epoch in run.epochs(2):
            run.log(**{f"metric{epoch}": np.inf})  # a column each, so that the other rows hold NaN
    assert not any("health" in listed.record.details for listed in holdfast.scan(tmp_path))


def test_masks_that_are_infinite_by_design_can_be_named(tmp_path):
    state = {"layer": {"mask": np.array([0, -np.inf])}, "weight": np.ones(2)}
    [record] = saved(tmp_path, state, on_divergence=Divergence("warn", may_be_infinite="**/mask"))
    assert "health" not in record.details


def test_a_model_of_an_experiment_that_went_bad_is_seen_in_ls_and_show(tmp_path):
    def poison(context):
        with torch.no_grad():
            context.graph["body"].model[0].weight[2, 3] = float("nan")

    experiment = make(
        tmp_path, train(n_epochs=2, checkpointing=on_disk()), callbacks=[At("epoch_end", 1, do=poison)]
    )
    experiment.run(progress=False)
    records = {listed.record.name: listed.record for listed in holdfast.scan(tmp_path)}
    assert "health" not in records["train_epoch0"].details
    counted = records["train_epoch1"].details["health"]
    assert counted == {"sick": 1, "leaves": {"model_graph/body/0.weight": [1, 0]}}
    lines = {line.split()[0]: line for line in shown("ls", tmp_path).splitlines() if line}
    assert "not finite: 1 array, model_graph/body/0.weight (1 NaN)" in lines["train/train_epoch1"]
    assert "not finite" not in lines["train/train_epoch0"]
    text = shown("show", tmp_path / "train" / "train_epoch1")
    assert "model_graph/body/0.weight: 1 NaN, 0 infinite" in text


def test_the_verdict_and_what_comes_next_are_shown(tmp_path):
    class Crash(Exception):
        pass

    def run(*callbacks):
        phase = train(n_epochs=3, checkpointing=on_disk())
        make(tmp_path, phase, callbacks=callbacks).run(resume=True, progress=False)

    with pytest.raises(Crash):
        run(At("epoch_start", 1, do=Crash()))
    first = holdfast.scan(tmp_path)[0].record
    assert "resumed" not in shown("ls", tmp_path)
    run(At("epoch_start", 9, do=Crash()))
    table = shown("ls", tmp_path).splitlines()
    assert "resumed" in table[0]
    assert ["exact" in line for line in table[1:4]] == [False, True, True]
    text = shown("show", tmp_path / "train" / "train_epoch2")
    assert f"exact, from {first.id}" in text
    assert first.details["next"]["streams"]["numpy"] in shown("show", tmp_path / "train" / "train_epoch0")
