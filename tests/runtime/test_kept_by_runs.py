"""What real runs keep: by metric, every so often, within a budget; and what they never remove."""

from __future__ import annotations

import logging
import math
import os

import pytest

import holdfast
from holdfast import KeepBest, KeepEvery, KeepLast, MaxBytes, Write, bundle
from holdfast.records import CheckpointRecord
from holdfast.runtime import ExperimentDirectory
from holdfast.storage import LocalDisk
from tests.support.small_loop import crash, epochs_kept, policy, train
from tests.support.small_runs import all_verify, bundles, experiment, on_disk
from tests.support.small_runs import train as phase

LOSSES = [5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 7.0]


def bytes_on_disk(directory) -> int:
    files = {
        (found.st_dev, found.st_ino): found.st_size
        for place in directory.glob("*.ckpt.mml")
        for found in map(os.stat, place.iterdir())
    }
    return sum(files.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"keep": KeepBest(2, "val_loss")}, [1, 3, 6]),
        ({"keep": KeepLast(2) | KeepBest(1, "val_loss", "max")}, [5, 6]),
        ({"keep": KeepEvery("3 epochs")}, [2, 5, 6]),
        ({"keep": KeepLast(2) | KeepBest(1, "val_loss") | KeepEvery("3 epochs")}, [1, 2, 5, 6]),
        ({"keep": KeepLast(1) | KeepEvery("1000 d")}, None),
    ],
)
def test_a_loop_keeps_what_its_policy_says_and_so_after_any_crash(options, expected, tmp_path):
    run = train(tmp_path / "whole", LOSSES, **options)
    complete = epochs_kept(tmp_path / "whole")
    if expected is not None:
        assert complete == expected
    assert all_verify(tmp_path / "whole")
    assert run.results  # it ran
    for epoch in (1, 2, 4, 6):
        broken = tmp_path / f"broken{epoch}"
        crash(broken, LOSSES, epoch, **options)
        resumed_from = {epoch - 1}
        train(broken, LOSSES, **options)
        assert set(epochs_kept(broken)) - resumed_from == set(complete) - resumed_from


def test_a_metric_that_is_missing_or_nan_is_never_best(tmp_path, caplog):
    losses = [None, 3.0, math.nan, 2.0, math.nan, -math.inf, 4.0]
    train(tmp_path / "run", losses, keep=KeepBest(2, "val_loss"))
    assert epochs_kept(tmp_path / "run") == [1, 3, 6]
    with caplog.at_level(logging.WARNING, "holdfast"):
        train(tmp_path / "other", losses, keep=KeepBest(2, "accuracy"))
    assert epochs_kept(tmp_path / "other") == [6]
    assert "no checkpoint has the metric 'accuracy'" in caplog.text


def test_an_experiment_keeps_its_best(tmp_path):
    experiment(tmp_path / "all", phase(n_epochs=5, checkpointing=on_disk())).run()
    losses = {each.record.name: each.record.metrics["loss"] for each in holdfast.scan(tmp_path / "all")}
    worst = sorted(losses, key=lambda name: losses[name])[-2:]
    best = on_disk(keep=KeepBest(2, "loss", "max"))
    experiment(tmp_path / "best", phase(n_epochs=5, checkpointing=best)).run()
    assert set(bundles(tmp_path / "best" / "train")) == {*worst, "train_epoch4"}


def test_the_policy_of_an_experiment_keeps_by_steps(tmp_path):
    complete = on_disk("phase_end", keep=KeepEvery("10 steps"))
    units = [phase(f"part{number}", n_epochs=1) for number in range(5)]
    experiment(tmp_path, *units, checkpointing=complete).run()
    assert bundles(tmp_path) == ["part1", "part3", "part4"]


def test_a_budget_is_held_in_real_bytes_and_the_newest_stays_though_it_alone_is_over(tmp_path):
    size = 30_000  # 240 kB an epoch
    train(
        tmp_path / "three",
        LOSSES,
        size=size,
        write=Write(durability="process", background=False),
        keep=MaxBytes("750 kB"),
    )
    assert epochs_kept(tmp_path / "three") == [5, 6] or epochs_kept(tmp_path / "three") == [4, 5, 6]
    assert bytes_on_disk(tmp_path / "three") <= 750_000
    train(tmp_path / "one", LOSSES, size=size, keep=MaxBytes(1000))
    assert len(epochs_kept(tmp_path / "one")) == 1
    assert all_verify(tmp_path / "one")


def test_packs_that_checkpoints_share_count_once(tmp_path):
    import numpy as np

    def run(directory, **options):
        fixed, count = np.arange(60_000.0), np.zeros(1)  # 480 kB that never change
        with holdfast.Run(
            directory, {"fixed": fixed, "count": count}, checkpointing=policy(**options)
        ) as loop:
            for _ in loop.epochs(6):
                count += 1

    run(tmp_path, keep=MaxBytes("800 kB"))
    assert epochs_kept(tmp_path) == [0, 1, 2, 3, 4, 5], "six copies would take 2.9 MB"


def test_the_newest_checkpoint_stays_and_so_does_the_one_that_the_run_resumed_from(tmp_path):
    options = {"keep": KeepBest(1, "val_loss")}
    crash(tmp_path, [3.0, 2.0, 9.0, 9.0, 9.0], 3, **options)
    assert epochs_kept(tmp_path) == [1, 2]
    train(tmp_path, [3.0, 2.0, 9.0, 9.0, 9.0, 1.0, 4.0], **options)
    assert epochs_kept(tmp_path) == [2, 5, 6]


def test_what_another_run_wrote_and_what_was_saved_manually_stay(tmp_path):
    train(tmp_path, LOSSES)
    with holdfast.Run(
        tmp_path,
        {"place": 0},
        checkpointing=policy(keep=MaxBytes(1), name_template="{phase}-{epoch}"),
        resume=False,
    ) as run:
        for epoch in run.epochs(4):
            if epoch == 1:
                run.save("by-hand")
    names = bundles(tmp_path)
    assert "by-hand" in names
    assert [name for name in names if name.startswith("train_epoch")] == [f"train_epoch{e}" for e in range(7)]
    assert [name for name in names if name.startswith("train-")] == ["train-3"]


@pytest.mark.parametrize("options", [{"max_to_keep": 1}, {"keep": KeepLast(1)}, {"keep": MaxBytes(1)}])
def test_what_is_pinned_stays_until_the_pin_is_taken_away(options, tmp_path):
    crash(tmp_path, LOSSES, 3, **options)
    pinned = str(tmp_path / "train_epoch2.ckpt.mml")
    assert bundle.pin(LocalDisk(), pinned)
    crash(tmp_path, LOSSES, 5, **options)
    assert epochs_kept(tmp_path) == [2, 4]
    train(tmp_path, LOSSES, **options)
    assert epochs_kept(tmp_path) == [2, 4, 6]
    assert all_verify(tmp_path)


class _Falling(ExperimentDirectory):
    """A directory whose saves say that the state is sick from the fourth on, as the health check does."""

    def draft(self, name: str, **facts) -> CheckpointRecord:
        from dataclasses import replace

        record = super().draft(name, **facts)
        non_finite = (facts["moment"].epoch or 0) >= 3 and facts["moment"].hook == "epoch_end"
        return (
            replace(record, details={"health": {"sick": 1, "leaves": {"weight": [3, 0]}}})
            if non_finite
            else record
        )


@pytest.mark.parametrize(
    "options",
    [{"max_to_keep": 2}, {"keep": KeepLast(2)}, {"keep": MaxBytes(1)}, {"keep": KeepBest(1, "no")}],
)
def test_non_finite_checkpoints_never_displace_the_last_finite_one(options, tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.runtime._loop.ExperimentDirectory", _Falling)
    crash(tmp_path, LOSSES, 5, **options)
    assert 2 in epochs_kept(tmp_path)
    train(tmp_path, LOSSES, **options)
    assert 2 in epochs_kept(tmp_path)
    assert 6 in epochs_kept(tmp_path)
    assert len(epochs_kept(tmp_path)) <= 4  # the one it went on from, too
