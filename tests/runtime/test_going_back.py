"""`run(resume="name")` goes back in time: results, metrics and what is kept with it; and the new line is the run from then on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import holdfast
from holdfast import scan
from tests.support.integrations.own_loop import Crash as LoopCrash
from tests.support.integrations.own_loop import policy as loop_policy
from tests.support.integrations.own_loop import train as loop
from tests.support.small_runs import At, bundles, digest_of, experiment, on_disk, rows, train


class Crash(Exception):
    """Ends a run from within."""


def nothing(context) -> None: ...


def build(directory, *, n_epochs=6, do=nothing, at=(None, None), seed=0, **policy):
    """An experiment that saves at each epoch's end, validates, and does `do` at the end of a batch."""
    phase = train(n_epochs=n_epochs, validation=rows(1), checkpointing=on_disk(**policy))
    return experiment(directory, phase, seed=seed, callbacks=[At("batch_end", *at, do=do)])


def test_going_back_by_name_takes_results_and_metrics_back_and_the_run_ends_as_before(tmp_path):
    first = build(tmp_path)
    first.run(progress=False)
    there: list[list[float]] = []

    def look(context) -> None:
        there.append(context.results["train"].epochs["epoch"].tolist())

    back = build(tmp_path, do=look, at=(2, 0), seed=1)
    results = back.run(resume="train/train_epoch1", progress=False)
    assert there == [[0.0, 1.0]], "when it goes on, nothing is known of the epochs that it went back behind"
    assert back.last_resume.record.name == "train_epoch1"
    assert back.state_digest() == first.state_digest()
    assert results["train"].epochs["epoch"].tolist() == [*map(float, range(6))]
    for name in first.results["train"].epochs.columns:
        assert np.array_equal(results["train"][name], first.results["train"][name])
    records = [listed.record for listed in scan(tmp_path)]
    assert [record.metrics["loss"] for record in records] == first.results["train"]["loss"].tolist()
    assert len(back.history) == 1
    assert back.history[0].resumed_from == ["train_epoch1"]


def test_what_was_saved_after_that_moment_is_saved_again_under_its_name_even_without_overwrite(tmp_path):
    build(tmp_path, overwrite=False).run(progress=False)
    before = {listed.record.name: listed.record.seq for listed in scan(tmp_path)}
    back = build(tmp_path, overwrite=False, seed=1)
    back.run(resume="train/train_epoch3", progress=False)
    after = {listed.record.name: listed.record.seq for listed in scan(tmp_path)}
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["train_epoch4", "train_epoch5"]
    assert min(after["train_epoch4"], after["train_epoch5"]) > max(before.values())
    assert back.units[0].checkpointing.saved_keys == [*range(6)]


def test_retention_goes_back_too_and_never_gives_up_where_the_run_went_back_to(tmp_path):
    build(tmp_path, max_to_keep=4).run(progress=False)
    assert bundles(tmp_path / "train") == [f"train_epoch{n}" for n in (2, 3, 4, 5)]
    back = build(tmp_path, max_to_keep=4, n_epochs=7, seed=1)
    back.run(resume="train/train_epoch2", progress=False)
    assert back.units[0].checkpointing.saved_keys == [3, 4, 5, 6]
    assert bundles(tmp_path / "train") == [f"train_epoch{n}" for n in (2, 3, 4, 5, 6)]


def test_a_run_that_went_back_and_was_killed_resumes_with_its_new_line_and_not_with_newer_epochs(tmp_path):
    build(tmp_path / "a").run(progress=False)
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    def new_line(directory, **options):
        made = build(directory, seed=1, **options)
        for group in made.graph.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] = 0.01
        made.graph.scheduler.base_lrs = [0.01]
        return made

    complete = new_line(tmp_path / "a")
    complete.run(resume=holdfast.Resume("train/train_epoch1", override="lr"), progress=False)
    killed = new_line(tmp_path / "b", do=Crash(), at=(3, 0))
    with pytest.raises(Crash):
        killed.run(resume=holdfast.Resume("train/train_epoch1", override="lr"), progress=False)
    # The epochs 3, 4 and 5 that are there now were saved before the run went back.
    assert bundles(tmp_path / "b" / "train") == [f"train_epoch{n}" for n in range(6)]
    again = new_line(tmp_path / "b")
    again.run(resume=holdfast.Resume(override="lr"), progress=False)
    assert again.last_resume.record.name == "train_epoch2"
    assert digest_of(again.graph) == digest_of(complete.graph)
    assert again.state_digest() == complete.state_digest()


def test_a_loop_of_ones_own_goes_back_with_its_table_and_resumes_with_its_new_line(tmp_path):
    policy = {"save_on": "epoch_end", "max_to_keep": None}
    complete, first = loop(tmp_path, loop_policy(**policy))
    rows_then = len(first.results)
    digest, back = loop(tmp_path, loop_policy(**policy), resume="train_epoch0")
    assert (digest, len(back.results)) == (complete, rows_then)
    assert back.last_resume.record.name == "train_epoch0"

    def crash(number: int) -> None:
        if number == 17:  # in epoch 2
            raise LoopCrash

    with pytest.raises(LoopCrash):
        loop(tmp_path, loop_policy(**policy), resume="train_epoch0", at_batch=crash)
    newest = scan(tmp_path)[-1].record
    assert (newest.name, newest.moment.epoch) == ("train_epoch1", 1)
    digest, again = loop(tmp_path, loop_policy(**policy))
    assert again.last_resume.record.name == "train_epoch1"
    assert digest == complete


def test_going_back_to_what_is_not_there_changes_nothing(tmp_path):
    build(tmp_path).run(progress=False)
    before = [listed.record.id for listed in scan(tmp_path)]
    with pytest.raises(holdfast.errors.CheckpointNotFoundError, match="train_epoch77"):
        build(tmp_path, seed=1).run(resume="train/train_epoch77", progress=False)
    assert [listed.record.id for listed in scan(tmp_path)] == before
