"""What users of ModularML 1.0.0 wanted of restoring and going on, and get here: rows 1-6, 9-13, 39, 41 of its defects.

Each docstring begins with the number of the row. Rows 7, 8 and 14 are in `test_wanted_despite_failures.py`,
those on retention and names in `test_wanted_names.py`, on size, safety and packaging in `test_wanted_safety.py`.

Does not apply: of row 2, `Experiment.load(path)`. An experiment is code, so the script builds it, and a
checkpoint is restored into it.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import holdfast
from holdfast import Checkpointing, EarlyStopping, Loss, state
from tests.support.small_runs import (
    BATCHES,
    LOSS,
    At,
    Weights,
    adam_steps,
    digest_of,
    experiment,
    files_below,
    graph,
    on_disk,
    rows,
    train,
)


def plan(directory, *, seed=0, loss=LOSS):
    """Two phases, saved at the end of each epoch and phase."""
    return experiment(
        directory,
        train("a", n_epochs=3, losses=[loss], checkpointing=on_disk()),
        train("b", n_epochs=2, losses=[loss], checkpointing=on_disk()),
        seed=seed,
        checkpointing=on_disk("phase_end"),
    )


@pytest.fixture(scope="module")
def ran_elsewhere(tmp_path_factory):
    """The directory of a `plan` that another process has run, and the digest it ended with."""
    place = tmp_path_factory.mktemp("elsewhere") / "runs"
    script = (
        "from tests.pains.test_wanted_resumes import plan\n"
        f"run = plan({str(place)!r}); run.run(); print(run.state_digest())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return place, done.stdout.strip()


@pytest.fixture
def elsewhere(ran_elsewhere, tmp_path):
    """A copy of that directory, to work in."""
    return Path(shutil.copytree(ran_elsewhere[0], tmp_path / "runs"))


@pytest.mark.medium
def test_a_restarted_script_restores_its_phase_checkpoint(elsewhere):
    """1: ids were random, so a checkpoint could be restored only by the process that saved it."""
    restarted = plan(elsewhere, seed=9)
    restarted.restore_checkpoint("b/b_epoch1")
    with holdfast.open(elsewhere / "b" / "b_epoch1.ckpt.mml") as saved:
        assert np.array_equal(restarted.graph["head"].model.weight.detach(), saved["model_graph/head/weight"])
    assert adam_steps(restarted.graph) == 5 * BATCHES


@pytest.mark.medium
def test_a_restarted_script_sees_and_restores_its_experiment_checkpoints(elsewhere, ran_elsewhere):
    """2: `available_checkpoints` was empty after a restart, and restoring failed."""
    restarted = plan(elsewhere, seed=9)
    assert list(restarted.available_checkpoints) == [
        *("a/a_epoch0", "a/a_epoch1", "a/a_epoch2", "a"),
        *("b/b_epoch0", "b/b_epoch1", "b"),
    ]
    restarted.restore_checkpoint("b")
    here = plan(None)
    with here.disable_checkpointing():
        here.run()
    assert digest_of(restarted.graph) == digest_of(here.graph)
    assert here.state_digest() == ran_elsewhere[1]


@pytest.mark.medium
def test_the_next_phase_runs_on_a_restored_graph(elsewhere):
    """3: a restored node pointed at data of the old process, and no phase could be built on it."""
    restarted = plan(elsewhere, seed=9)
    restarted.restore_checkpoint("a")
    restarted.run_phase(train("more", n_epochs=1))
    assert adam_steps(restarted.graph) == 4 * BATCHES


@pytest.mark.parametrize(("name", "step"), [("a/a_epoch0", 5), ("a", 15), ("b/b_epoch0", 20)])
def test_a_run_resumes_from_any_epoch_and_trains_only_what_is_left(elsewhere, ran_elsewhere, name, step):
    """4: checkpoints did not say where they were, so a resumed run trained all epochs again."""
    trained = []

    def counted(output, target):
        trained.append(len(target))
        return nn.functional.cross_entropy(output, target)

    restarted = plan(elsewhere, seed=9, loss=Loss("loss", counted, output="head", target="digit"))
    with holdfast.open(restarted.available_checkpoints[name]) as checkpoint:
        assert checkpoint.moment.step == step
    restarted.run(resume=name)
    assert len(trained) == 5 * BATCHES - step
    assert adam_steps(restarted.graph) == 5 * BATCHES
    assert restarted.state_digest() == ran_elsewhere[1]


def test_restoring_an_epoch_restores_its_optimizer_and_schedule(elsewhere):
    """5: the optimizer's state was read and never applied."""
    restarted = plan(elsewhere)
    with restarted.disable_checkpointing():
        restarted.run()
    restarted.restore_checkpoint("a/a_epoch0")
    assert adam_steps(restarted.graph) == BATCHES
    assert restarted.graph.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 0.9)


def test_training_on_from_a_checkpoint_in_memory_never_changes_it():
    """6: tensors of the stored state were those of the live optimizer."""
    policy = Checkpointing(mode="memory")
    run = experiment(None, train(checkpointing=policy))
    run.run()
    kept = policy.get_snapshot(0)
    then = state.digest(kept)
    for _ in range(2):
        holdfast.restore(kept, {"model_graph": run.graph})
        assert adam_steps(run.graph) == BATCHES
        run.run_phase(train("more"))
        assert adam_steps(run.graph) == 4 * BATCHES
    assert state.digest(kept) == then


def test_a_checkpoint_of_a_finished_phase_holds_its_results_and_history(elsewhere):
    """9: results were filled in only after the whole experiment had ended."""
    restarted = plan(elsewhere)
    restarted.restore_checkpoint("a")
    assert list(restarted.results) == ["a"]
    assert restarted.results["a"].status == "complete"
    assert len(restarted.results["a"]["loss"]) == 3
    assert [entry.what for entry in restarted.history] == ["experiment"]


@pytest.mark.parametrize(
    "options", [{"max_to_keep": 2}, {"every_n": 3}, {"save_on": ["epoch_start"]}], ids=str
)
def test_the_best_epoch_comes_back_whatever_is_checkpointed(tmp_path, options):
    """10: it was looked up among the checkpoints, which had another epoch or none."""
    score = [5.0, 4.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    seen = Weights()
    phase = train(
        n_epochs=8,
        callbacks=[
            At("epoch_end", do=lambda context: context.metrics.update(score=score[context.moment.epoch])),
            EarlyStopping("score", 2),
            seen,
        ],
        checkpointing=on_disk(*options.pop("save_on", ["epoch_end"]), **options),
    )
    run = experiment(tmp_path, phase)
    result = run.run()["train"]
    assert (result.status, len(seen.by_epoch)) == ("stopped early", 6)
    assert digest_of(run.graph) == seen.by_epoch[3]


def test_random_draws_after_a_restore_are_those_after_the_save(tmp_path):
    """11: no random state was saved."""

    def draws():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    run = experiment(tmp_path)
    run.save_checkpoint("here")
    first = draws()
    assert draws() != first
    run.restore_checkpoint("here")
    assert draws() == first


def test_a_preview_that_fails_changes_nothing():
    """12: weights stayed changed after an exception."""
    run = experiment(None, train(callbacks=[At("batch_end", 1, 2, do=RuntimeError("boom"))]))
    before = digest_of(run.graph), torch.get_rng_state().tolist()
    with pytest.raises(RuntimeError, match="boom"):
        run.preview_phase("train")
    assert (digest_of(run.graph), torch.get_rng_state().tolist()) == before


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("boom"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_a_run_that_ends_badly_is_in_the_history_and_resumes_from_its_last_save(tmp_path, error, status):
    """13: nothing was recorded, and nothing was there to go on from."""

    def make(error=None):
        # The callback is part of the plan, so it is there both times.
        trouble = At("batch_end", 2, 3, do=error or (lambda context: None))
        return experiment(tmp_path, train(callbacks=[trouble], checkpointing=on_disk("batch_end")))

    undisturbed = make()
    with undisturbed.disable_checkpointing():
        undisturbed.run()
    run = make(error)
    with pytest.raises(type(error)):
        run.run()
    assert [entry.status for entry in run.history] == [status]
    assert type(error).__name__ in run.history[0].reason
    assert run.results["train"].status == "failed"

    again = make()
    again.run(resume=True)
    assert again.last_resume.record.name == "train_epoch2_batch2"
    assert again.state_digest() == undisturbed.state_digest()
    assert [entry.status for entry in again.history] == ["complete"]


def test_restoring_an_earlier_checkpoint_rolls_results_back_but_forgets_no_finished_phase(elsewhere):
    """39: restoring `a` after `a` and `b` left an empty history.

    Later checkpoints are still listed, because they are still there: one can go forward again.
    """
    restarted = plan(elsewhere)
    restarted.restore_checkpoint("b")
    assert list(restarted.results) == ["a", "b"]
    before = files_below(elsewhere)
    restarted.restore_checkpoint("a")
    assert list(restarted.results) == ["a"]
    assert len(restarted.history) == 1
    assert "b" in restarted.available_checkpoints
    assert files_below(elsewhere) == before


def test_shuffled_epochs_differ_from_each_other():
    """41: batches were drawn once for a whole phase, so that every epoch was the same."""
    seen: dict[int, list[float]] = {0: [], 1: []}
    epoch = 0

    def step(graph, batch):
        seen[epoch].extend(batch["pixels"][:, 0].tolist())
        return {"loss": 0.0}

    def next_epoch(context):
        nonlocal epoch
        epoch = context.moment.epoch

    phase = train(n_epochs=2, losses=[], step=step, callbacks=[At("epoch_start", do=next_epoch)])
    experiment(None, phase, graph=graph(scheduler=None)).run()
    assert seen[0] != seen[1]
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(rows()["pixels"][:, 0].tolist())
