"""Checkpoints by hand: made and restored when one likes, from any place, without a trace of what came after."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Callback
from holdfast.errors import CheckpointExistsError, HoldfastError
from tests.support.small_runs import (
    BATCHES,
    At,
    adam_steps,
    all_verify,
    bundles,
    digest_of,
    experiment,
    files_below,
    graph,
    on_disk,
    train,
    weights,
)


class Counter(Callback):
    """Remembers how many epochs it has seen."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_end(self, context) -> None:
        self.epochs += 1

    def get_state(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def set_state(self, state) -> None:
        self.epochs = state["epochs"]


def plan(directory, **options):
    return experiment(
        directory,
        train("a", n_epochs=3, checkpointing=on_disk()),
        train("b", n_epochs=2, checkpointing=on_disk()),
        checkpointing=on_disk("phase_end"),
        **options,
    )


def draws() -> tuple:
    return random.random(), np.random.rand(2).tolist(), torch.rand(2).tolist()


# --- restoring ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["name", "short name", "path", "string", "with a slash"])
def test_a_checkpoint_is_found_by_name_or_path(tmp_path, how):
    run = plan(tmp_path)
    run.run()
    path = tmp_path / "a" / "a_epoch1.ckpt.mml"
    place = {"name": "a/a_epoch1", "short name": "a_epoch1", "path": path, "string": str(path)}
    restored = run.restore_checkpoint(place.get(how, f"{path}/"))
    assert restored.moment.epoch == 1
    assert restored.name == "a_epoch1"
    assert adam_steps(run.graph) == 2 * BATCHES


def test_a_checkpoint_of_a_phase_brings_back_results_history_callbacks_and_random_states(tmp_path):
    seen, after = {}, {}

    class Seen(Callback):
        def on_epoch_start(self, context) -> None:
            if context.phase == "a":  # what the save at the end of the epoch before has seen too
                seen[context.moment.epoch - 1] = digest_of(context.graph)

    counter = Counter()
    run = plan(tmp_path, callbacks=[counter, Seen()])
    run.run()
    for epoch in (1, 0):
        run.restore_checkpoint(f"a/a_epoch{epoch}")
        assert digest_of(run.graph) == seen[epoch]
        assert list(run.results) == ["a"]
        assert run.results["a"]["epoch"].tolist() == list(range(epoch + 1))
        assert run.results["a"].status == "running"
        assert counter.epochs == epoch + 1
        assert [entry.what for entry in run.history] == ["experiment"]
        after[epoch] = draws()
        run.restore_checkpoint(f"a/a_epoch{epoch}")
        assert draws() == after[epoch]
    assert after[0] != after[1]


def test_parameters_stay_the_same_objects(tmp_path):
    run = plan(tmp_path)
    run.run()
    before = [id(parameter) for parameter in run.graph.parameters()]
    run.restore_checkpoint("a")
    assert [id(parameter) for parameter in run.graph.parameters()] == before
    assert run.graph.optimizers[0].param_groups[0]["params"][0] is next(iter(run.graph.parameters()))


def test_a_restored_checkpoint_is_a_handle_to_look_at(tmp_path):
    run = plan(tmp_path)
    run.run()
    with run.restore_checkpoint("a") as checkpoint:
        assert np.array_equal(checkpoint["model_graph/head/weight"], weights(run.graph)[2].numpy())
        assert checkpoint["run/done"] == ["a"]


def test_a_checkpoint_that_was_moved_is_restored_by_an_experiment_without_a_directory(tmp_path):
    run = plan(tmp_path / "runs")
    run.run()
    moved = Path(shutil.move(tmp_path / "runs" / "a.ckpt.mml", tmp_path / "renamed.ckpt.mml"))
    elsewhere = experiment(None, train("a", n_epochs=3), train("b", n_epochs=2), graph=graph(seed=7))
    elsewhere.restore_checkpoint(moved)
    assert adam_steps(elsewhere.graph) == 3 * BATCHES


def test_a_restore_writes_nothing(tmp_path):
    run = plan(tmp_path)
    run.run()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files_below(tmp_path)}
    run.restore_checkpoint("a/a_epoch1")
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files_below(tmp_path)} == before


def test_after_a_restore_the_plan_runs_from_the_beginning_unless_told_to_resume(tmp_path):
    run = plan(tmp_path)
    run.run()
    end = run.state_digest()
    run.restore_checkpoint("a/a_epoch1")
    run.run(resume="a/a_epoch1")
    assert run.state_digest() == end
    run.restore_checkpoint("a/a_epoch1")
    with run.disable_checkpointing():
        run.run()
    assert adam_steps(run.graph) == (2 + 5) * BATCHES


# --- saving ---------------------------------------------------------------------------------------


def test_a_checkpoint_can_be_made_before_anything_was_run(tmp_path):
    run = experiment(tmp_path / "deep" / "runs", train())
    path = run.save_checkpoint("start")
    assert path == tmp_path / "deep" / "runs" / "start.ckpt.mml"
    start = digest_of(run.graph)
    run.run()
    run.restore_checkpoint("start")
    assert digest_of(run.graph) == start
    assert (run.history, dict(run.results)) == ([], {})


def test_a_checkpoint_says_that_it_was_requested_manually(tmp_path):
    run = plan(tmp_path)
    run.run()
    with holdfast.open(run.save_checkpoint("mine")) as checkpoint:
        record = checkpoint.record
    assert (record.kind, record.moment.hook, record.reason) == ("experiment", "by_hand", "saved on request")
    assert (record.run, record.moment.step) == (run.results.run, 5 * BATCHES)
    assert record.seq == max(each.record.seq for each in holdfast.scan(tmp_path))
    assert record.durability == "full"


def test_a_run_with_a_policy_of_its_own_resumes_past_a_checkpoint_made_manually_and_keeps_it(tmp_path):
    def plan_of(*callbacks: Callback):
        phases = [train("first"), train("second", checkpointing=on_disk("epoch_end"))]
        policy = on_disk("phase_end", max_to_keep=1)
        return experiment(tmp_path, *phases, checkpointing=policy, callbacks=callbacks)

    class SavesThenFails(Callback):
        def on_epoch_end(self, context) -> None:
            if context.phase == "second" and context.moment.epoch == 0:
                broken.save_checkpoint("mine")
            elif context.phase == "second":
                raise RuntimeError

    broken = plan_of(SavesThenFails())
    with pytest.raises(RuntimeError):
        broken.run()
    again = plan_of(Callback())
    again.run(resume=True)
    assert again.results.status == "complete"
    assert bundles(tmp_path) == ["mine", "second"]


def test_a_name_is_replaced_unless_that_is_forbidden(tmp_path):
    run = experiment(tmp_path, train(n_epochs=1))
    run.save_checkpoint("mine")
    run.run()
    with pytest.raises(CheckpointExistsError):
        run.save_checkpoint("mine", overwrite=False)
    run.save_checkpoint("mine")
    run.restore_checkpoint("mine")
    assert adam_steps(run.graph) == BATCHES
    assert bundles(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    "where", [("phase_start",), ("epoch_start", 1), ("batch_end", 1, 2), ("epoch_end", 1), ("phase_end",)]
)
def test_a_checkpoint_made_in_the_middle_of_a_run_can_be_resumed_from(tmp_path, where):
    """A hook of the user's own that saves: what it has seen is what comes back."""

    def make(act):
        phase = train(callbacks=[At(*where, do=act)], checkpointing=on_disk("batch_end"))
        return experiment(tmp_path, phase)

    complete = make(lambda context: complete.save_checkpoint("mine"))
    complete.run()
    again = make(lambda context: None)
    again.run(resume="mine")
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == complete.state_digest()
    assert all_verify(tmp_path)


def test_a_checkpoint_made_after_a_failure_holds_the_run_as_it_stopped(tmp_path):
    def make(act):
        return experiment(tmp_path, train(freeze=["body"], callbacks=[At("batch_end", 1, 2, do=act)]))

    complete = make(lambda context: None)
    complete.run()
    run = make(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.save_checkpoint("as it stopped")
    again = make(lambda context: None)
    again.run(resume="as it stopped")
    assert again.state_digest() == complete.state_digest()


# --- what there is ----------------------------------------------------------------------------------


def test_available_checkpoints_are_named_by_folder_oldest_first_whoever_made_them(tmp_path):
    run = plan(tmp_path)
    assert run.available_checkpoints == {}
    run.run()
    run.save_checkpoint("mine")
    assert list(run.available_checkpoints) == [
        *("a/a_epoch0", "a/a_epoch1", "a/a_epoch2", "a", "b/b_epoch0", "b/b_epoch1", "b", "mine"),
    ]
    assert all(path.is_dir() for path in run.available_checkpoints.values())
    assert plan(tmp_path).available_checkpoints == run.available_checkpoints
    shutil.rmtree(run.available_checkpoints["a/a_epoch1"])
    assert "a/a_epoch1" not in run.available_checkpoints


def test_checkpoints_of_a_phase_with_a_directory_of_its_own_are_available_by_path(tmp_path):
    run = experiment(None, train(n_epochs=1, checkpointing=on_disk(directory=tmp_path / "own")))
    run.run()
    (name,) = run.available_checkpoints
    run.restore_checkpoint(name)
    assert adam_steps(run.graph) == BATCHES


def test_an_experiment_without_a_graph_or_a_directory_says_what_it_lacks():
    run = experiment(None, graph=None)
    assert run.available_checkpoints == {}
    for act in (lambda: run.save_checkpoint("x"), lambda: run.restore_checkpoint("x")):
        with pytest.raises(HoldfastError):
            act()


def test_an_experiment_without_a_graph_goes_back_to_its_results_and_random_states(tmp_path):
    class Remembers(Counter):
        def on_experiment_start(self, context) -> None:
            self.epochs += 1

    counter = Remembers()
    run = experiment(tmp_path, graph=None, callbacks=[counter], checkpointing=on_disk("experiment_end"))
    run.run()
    first = draws()
    counter.epochs = 99
    run.restore_checkpoint("END")
    assert counter.epochs == 1
    assert draws() == first
    assert run.results.status == "complete"
