"""What should come next is recorded with each save; a run that goes on says "exact", or the first thing that differs."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, Write, fingerprint, rng
from tests.support.small_runs import At, on_disk, rows, train
from tests.support.small_runs import experiment as make


class Crash(Exception):
    """Ends a run from within."""


def newest(directory) -> holdfast.Checkpoint:
    return holdfast.open(holdfast.scan(directory)[-1])


def details(directory):
    with newest(directory) as checkpoint:
        return checkpoint.record.details


# --- a loop of one's own ----------------------------------------------------------------------------


def loop(directory, *, crash: int | None = None, batches=None, epochs: int = 2, noise: int = 3, **options):
    """Two epochs over 8 batches, saved after each; `crash`: the batch (of both epochs) in which it ends."""
    rng.seed_everything(0)
    weight, generator = np.zeros(2), np.random.default_rng(noise)
    policy = Checkpointing(
        mode="disk", save_on="batch_end", write=Write(durability="process"), **options.pop("policy", {})
    )
    data = batches or torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(16.0)), batch_size=2, shuffle=True
    )
    objects = {"weight": weight, "generator": generator, **options.pop("objects", {})}
    with Run(directory, objects, checkpointing=policy, **options) as run:
        for epoch in run.epochs(epochs):
            for batch in run.batches(data):
                if epoch * 8 + run.batch == crash:
                    raise Crash
                values = batch[0] if isinstance(batch, list) else batch
                weight += np.asarray(values).sum() * generator.normal(size=2) + random.random()
    return run


def stopped(directory, **options):
    with pytest.raises(Crash):
        loop(directory, crash=11, **options)


def test_each_save_of_a_loop_records_what_should_come_next(tmp_path):
    stopped(tmp_path)
    ahead = details(tmp_path)["next"]
    assert ahead["streams"].keys() >= {"python", "numpy", "torch cpu", "generator"}
    assert len(ahead["batch"]) == 64


def test_fingerprints_are_drawn_from_clones(tmp_path):
    generators = [random.Random(1), np.random.default_rng(1), np.random.RandomState(1), torch.Generator()]
    for generator in generators:
        before = rng.generator_state(generator)
        first = rng.next_draw(generator)
        np.testing.assert_equal(rng.generator_state(generator), before)
        assert rng.next_draw(generator) == first
        assert len(first) == 16
    assert rng.next_draw(generators[0]) == f"{generators[0].getrandbits(64):016x}"


def test_a_loop_that_resumes_exactly_says_so_and_its_next_checkpoints_tell(tmp_path, caplog):
    stopped(tmp_path)
    with newest(tmp_path) as checkpoint:
        before = checkpoint.record
    assert "resume" not in before.details  # it ran from scratch
    with caplog.at_level(logging.INFO, "holdfast"):
        assert loop(tmp_path).last_resume.verdict == "exact"
    assert details(tmp_path)["resume"] == {"from": before.id, "verdict": "exact"}
    assert [line for line in caplog.messages if line.startswith("resumed from")] == [
        f"resumed from {tmp_path}/train_epoch1_batch2.ckpt.mml: exact"
    ]


def test_no_verdict_says_exact_before_what_comes_next_was_compared(tmp_path):
    stopped(tmp_path)
    policy = Checkpointing(mode="disk", save_on="batch_end")
    with Run(
        tmp_path, {"weight": np.zeros(2), "generator": np.random.default_rng(3)}, checkpointing=policy
    ) as run:
        assert run.last_resume.verdict == "not compared yet"
        run.save("early")
        assert newest(tmp_path).record.details["resume"]["verdict"] == "not compared yet"
        list(run.epochs(2))
        assert run.last_resume.verdict == "exact"


def test_a_generator_that_was_not_restored_is_named(tmp_path):
    stopped(tmp_path, policy={"exclude": "generator"})
    run = loop(tmp_path, policy={"exclude": "generator"}, noise=4)
    assert run.last_resume.verdict == (
        "not exact: the random state 'generator' gives another number next than it would have"
    )


def test_a_generator_left_out_that_happens_to_be_the_same_is_still_said_to_be_left_out(tmp_path):
    stopped(tmp_path, policy={"exclude": "generator"})
    verdict = loop(tmp_path, policy={"exclude": "generator"}).last_resume.verdict
    assert verdict.startswith("not exact: ")


def test_a_changed_order_of_the_data_is_named(tmp_path):
    batches = [np.full(2, value, np.float32) for value in range(8)]
    data = holdfast.Dataset(x=np.stack(batches))
    for directory, then, now, said in (
        (tmp_path / "order", {"seed": 1}, {"seed": 2}, "the data give another next batch"),
        (
            tmp_path / "fields",
            {"batch_size": 1},
            {"batch_size": 2},
            "the data give another next batch",
        ),
    ):
        with pytest.raises(Crash):
            dataset_loop(directory, data, crash=3, **then)
        verdict = dataset_loop(directory, data, **now).last_resume.verdict
        assert verdict.startswith(f"not exact: {said}")


def dataset_loop(directory, data, *, crash: int | None = None, batch_size: int = 1, seed: int = 0):
    policy = Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))
    weight = np.zeros(2)
    with Run(directory, {"weight": weight}, checkpointing=policy) as run:
        for _ in run.epochs(1):
            for batch in run.batches(data, batch_size=batch_size, seed=seed):
                if run.batch == crash:
                    raise Crash
                weight += batch["x"].sum()
    return run


@pytest.mark.parametrize("of", ["dataset", "loader", "subset"])
def test_a_changed_file_of_data_is_named(of, tmp_path):
    file = tmp_path / "data.npy"
    np.save(file, np.arange(16.0))

    def batches():
        values = np.load(file)
        tensors = torch.utils.data.TensorDataset(torch.from_numpy(values))
        match of:
            case "dataset":
                return holdfast.Dataset(x=values)
            case "loader":
                return torch.utils.data.DataLoader(tensors, batch_size=2)
        return torch.utils.data.DataLoader(torch.utils.data.Subset(tensors, range(16)), batch_size=2)

    def go(directory, crash=None):
        policy = Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))
        weight = np.zeros(1)
        with Run(directory, {"weight": weight}, checkpointing=policy) as run:
            for _ in run.epochs(1):
                for _ in run.batches(batches(), **({"batch_size": 2} if of == "dataset" else {})):
                    weight += 1
                    if run.batch == crash:
                        raise Crash
        return run

    with pytest.raises(Crash):
        go(tmp_path / "runs", crash=3)
    np.save(file, np.arange(16.0) + 1)
    verdict = go(tmp_path / "runs").last_resume.verdict
    assert verdict.startswith("not exact: the data that the script makes in the loop are not those of before")


def test_data_that_changed_between_two_epochs_are_named_as_soon_as_they_are_there(tmp_path):
    def go(values, crash=None):
        policy = Checkpointing(mode="disk", save_on="epoch_end", write=Write(durability="process"))
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy) as run:
            for epoch in run.epochs(3):
                for _ in run.batches(holdfast.Dataset(x=values), batch_size=4):
                    if (epoch, run.batch) == crash:
                        raise Crash
        return run

    with pytest.raises(Crash):
        go(np.arange(8.0), crash=(1, 0))
    run = go(np.arange(8.0) + 1)
    assert run.last_resume.verdict == "not exact: the data's values have changed"
    assert details(tmp_path)["resume"]["verdict"] == run.last_resume.verdict


def test_an_optimizer_whose_settings_the_script_overrides_is_named(tmp_path):
    def optimizer(rate):
        return {"optimizer": torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=rate)}

    stopped(tmp_path, objects=optimizer(0.1))
    run = loop(tmp_path, objects=optimizer(0.5), resume=holdfast.Resume(override="lr"))
    assert run.last_resume.verdict == "not exact: the optimizer's lr was 0.1 and is 0.5 (override)"


def test_another_version_of_a_library_is_named(tmp_path, monkeypatch):
    now = fingerprint.versions()
    with monkeypatch.context() as patched:
        patched.setattr(fingerprint, "versions", lambda: now | {"numpy": "1.0"})
        stopped(tmp_path)
    assert loop(tmp_path).last_resume.verdict == f"not exact: numpy was 1.0 and is {np.__version__}"


def test_what_comes_out_differently_is_said_before_the_version_that_may_be_why(tmp_path, monkeypatch):
    now = fingerprint.versions()
    with monkeypatch.context() as patched:
        patched.setattr(fingerprint, "versions", lambda: now | {"numpy": "1.0"})
        stopped(tmp_path, policy={"exclude": "generator"})
    differences = loop(tmp_path, policy={"exclude": "generator"}, noise=4).last_resume.differences
    assert ["random state" in each for each in differences] == [True, False, False]


# --- an experiment ----------------------------------------------------------------------------------


def crashed(directory, phase, **options):
    with pytest.raises(Crash):
        make(directory, phase, callbacks=[At("batch_end", 1, 3, do=Crash())], **options).run(progress=False)


def again(directory, phase, **options):
    experiment = make(directory, phase, callbacks=[At("batch_end", 9, 9, do=Crash())], **options)
    experiment.run(resume=True, progress=False)
    return experiment


def phase(**options):
    return train(n_epochs=3, checkpointing=on_disk("batch_end"), **options)


def test_an_experiment_records_what_comes_next_and_how_exactly_it_resumed(tmp_path, caplog):
    crashed(tmp_path, phase())
    before = holdfast.scan(tmp_path)[-1].record
    assert before.details["next"]["streams"].keys() >= {"python", "numpy", "torch cpu"}
    assert before.details["next"]["batch"] is not None
    with caplog.at_level(logging.INFO, "holdfast"):
        experiment = again(tmp_path, phase())
    assert experiment.last_resume.verdict == "exact"
    assert details(tmp_path)["resume"] == {"from": before.id, "verdict": "exact"}
    assert sum(line.endswith("ckpt.mml: exact") for line in caplog.messages) == 1


def test_data_of_a_phase_that_is_done_are_named_if_they_changed(tmp_path):
    with pytest.raises(Crash):
        make(
            tmp_path,
            train("first", n_epochs=1),
            phase(),
            callbacks=[At("batch_end", 1, 3, do=Crash())],
        ).run(progress=False)
    experiment = make(
        tmp_path,
        train("first", n_epochs=1, data=rows(seed=5)),
        phase(),
        callbacks=[At("batch_end", 9, 9, do=Crash())],
    )
    experiment.run(resume=True, progress=False)
    assert experiment.last_resume.verdict.startswith("not exact: 'first: data': digest was ")


def test_a_loader_of_a_phase_with_a_generator_of_its_own_is_watched(tmp_path):
    def loading():
        torch.manual_seed(3)
        data = rows()
        return torch.utils.data.DataLoader(
            data, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(7)
        )

    crashed(tmp_path, phase(data=loading(), batch_size=None))
    assert "train: loader.generator" in details(tmp_path)["next"]["streams"]
    assert again(tmp_path, phase(data=loading(), batch_size=None)).last_resume.verdict == "exact"


def test_a_checkpoint_requested_manually_records_it_too(tmp_path):
    experiment = make(tmp_path, phase())
    experiment.run(progress=False)
    experiment.save_checkpoint("mine")
    [mine] = [each.record for each in holdfast.scan(tmp_path) if each.record and each.record.name == "mine"]
    assert mine.details["next"]["streams"]


@pytest.mark.medium
def test_a_record_whose_facts_are_nonsense_does_not_stop_a_run(tmp_path, monkeypatch):
    from holdfast.runtime import _directory

    for nonsense in ({"next": 3}, {"next": {"streams": [1]}}, {"next": {"streams": {"python": {"a": 1}}}}):
        with monkeypatch.context() as patched:
            patched.setattr(_directory.ExperimentDirectory, "_details", lambda *_, n=nonsense: n)
            directory = tmp_path / str(len(str(nonsense)))
            stopped(directory)
        assert loop(directory).last_resume is not None


def test_a_run_begins_where_torch_refuses_to_tell_one_of_its_switches():
    """After one operator's switch was set, it refuses to tell of all."""
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    try:
        conv.fp32_precision = "ieee"
        assert "conv ieee" in fingerprint.environment()["cudnn use"]
    finally:
        conv.fp32_precision = before
    assert "tf32=True" in fingerprint.environment()["cudnn use"]
