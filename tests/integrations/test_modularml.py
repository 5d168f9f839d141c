"""ModularML through Holdfast: each promise of docs/integrations/modularml.md, most of them a defect that is gone.

`anew` stands for a script that was started anew: everything is built again, with node ids of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

if any(importlib.util.find_spec(name) is None for name in ("modularml", "matplotlib", "IPython")):
    pytest.skip("modularml is not installed", allow_module_level=True)

import modularml as mml
import numpy as np
import torch

import holdfast
from holdfast import Checkpointing
from holdfast.checkpoint import scan_if_there
from holdfast.errors import DivergenceError, PlanMismatchError, Preempted, SaveError, UsageError
from holdfast.integrations import modularml as hf
from tests.support.integrations.crashing import Crash, beats
from tests.support.integrations.modularml_experiment import (
    experiment,
    loss,
    planned,
    run,
    stopping,
    train_phase,
)

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore::UserWarning:modularml")


@pytest.fixture(autouse=True)
def enabled(tmp_path):
    hf.enable(tmp_path / "run")
    yield
    hf.disable()


def theirs(**options):
    return mml.Checkpointing(**{"mode": "disk", "save_on": "epoch_end", **options})


def ours(**options):
    return Checkpointing(**{"mode": "disk", "save_on": "epoch_end", **options})


def one_phase(policy, beat=lambda: None, *, n_epochs=4, patience=None, label="train", **options):
    made = experiment(beat, **options)
    callbacks = stopping(patience) if patience else ()
    made.execution_plan.add_item(train_phase(label, policy, n_epochs=n_epochs, callbacks=callbacks))
    return made


def refuse_to_sync(monkeypatch):
    """A disk that is full when it matters."""

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)


def weights(made) -> np.ndarray:
    parts = [p.detach().ravel() for node in made.model_graph.nodes.values() for p in node.model.parameters()]
    return torch.cat(sorted(parts, key=len)).numpy().copy()


def optimizer_step(made) -> int:
    state = made.model_graph._optimizer.instance.state
    return int(next(iter(state.values()))["step"])


def recorded(made, label="train") -> tuple[list[float], list[float]]:
    """A phase's metrics, and the losses of its batches."""
    results = made.last_run.results[label]
    losses = [each.total for each in results.losses(node="head").values()]
    return [each.value for each in results.metrics().values()], losses


def names(directory: Path) -> list[str]:
    return [listed.record.name for listed in scan_if_there(directory) if listed.record]


def phase_of(made, label="train"):
    return made.execution_plan.get_train_phase(label)


# --- what was lost or wrong -----------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("policy", [theirs, ours])
def test_a_script_started_anew_resumes_in_mid_phase_and_ends_as_an_uninterrupted_one(
    tmp_path, policy
):  # 1, 2, 4, 11
    uninterrupted = planned(policy(save_on=["batch_end"], every_n=3))
    run(uninterrupted)
    wanted, recorded_then = hf.state_digest(uninterrupted), recorded(uninterrupted)
    hf.enable(tmp_path / "killed")
    with pytest.raises(Crash):
        run(planned(policy(save_on=["batch_end"], every_n=3), beats(38)))
    anew = planned(policy(save_on=["batch_end"], every_n=3))
    run(anew)
    assert hf.last_resume(anew).record.moment.phase == "train"
    assert hf.last_resume(anew).verdict == "exact"
    assert hf.state_digest(anew) == wanted
    assert recorded(anew) == recorded_then


@pytest.mark.medium
def test_an_experiment_saved_at_its_phases_resumes_after_the_last_that_was_done(tmp_path):  # 2, 9
    policy = theirs(save_on=["phase_start", "phase_end", "experiment_end"])
    uninterrupted = planned(None, checkpointing=policy)
    run(uninterrupted)
    wanted = hf.state_digest(uninterrupted)
    assert names(tmp_path / "run") == [
        "pretrain_start",
        "pretrain",
        "train_start",
        "train",
        "test_start",
        "test",
        "END",
    ]
    hf.enable(tmp_path / "killed")
    with pytest.raises(Crash):
        run(
            planned(
                None,
                beats(30),
                checkpointing=theirs(save_on=["phase_start", "phase_end", "experiment_end"]),
            )
        )
    anew = planned(None, checkpointing=theirs(save_on=["phase_start", "phase_end", "experiment_end"]))
    run(anew)
    assert hf.last_resume(anew).record.name == "train_start"
    assert hf.state_digest(anew) == wanted
    assert anew.last_run.results.labels == ["pretrain", "train", "test"]


def test_a_finished_script_run_again_gives_its_results_and_trains_nothing(tmp_path):
    made = planned(ours(), checkpointing=ours(save_on="experiment_end"))
    run(made)
    wanted, trained, tested = hf.state_digest(made), recorded(made), recorded(made, "test")
    beats = []
    anew = planned(ours(), lambda: beats.append(1), checkpointing=ours(save_on="experiment_end"))
    run(anew)
    assert not beats
    assert hf.state_digest(anew) == wanted
    assert (recorded(anew), recorded(anew, "test")) == (trained, tested)


def test_a_run_says_its_end(tmp_path, caplog):
    caplog.set_level("INFO", "holdfast")
    run(one_phase(ours(save_on="epoch_end")))
    (said,) = [each for each in caplog.messages if each.startswith("ended at step")]
    assert re.search(r"ended at step \d+: \d+ checkpoints saved in ", said)


@pytest.mark.medium
def test_calls_of_run_phase_are_gone_through_again_and_the_interrupted_one_resumes(tmp_path):
    def script(beat=lambda: None):
        made = experiment(beat)
        phases = [
            train_phase(label, ours(save_on="batch_end", every_n=3), n_epochs=2) for label in ("a", "b")
        ]
        for phase in phases:
            made.run_phase(phase, show_sampler_progress=False, show_training_progress=False)
        return made

    wanted = script()
    digest = hf.state_digest(wanted)
    hf.enable(tmp_path / "killed")
    with pytest.raises(Crash):
        script(beats(23))
    anew = script()
    assert hf.last_resume(anew).record.moment.phase == "b"
    assert hf.state_digest(anew) == digest
    assert [entry.label for entry in anew.history] == ["a", "b"]


@pytest.mark.medium
def test_a_sampler_without_a_seed_gives_the_batches_that_it_had_drawn(tmp_path):
    def seen(made) -> list[float]:
        return [
            each.value for each in made.last_run.results["train"].metrics().where(name="train_loss").values()
        ]

    def script(directory, beat=lambda: None):
        hf.enable(directory)
        made = experiment(beat)
        made.execution_plan.add_item(train_phase("train", ours(save_on="batch_end"), n_epochs=3, seed=None))
        return made

    with pytest.raises(Crash):
        run(script(tmp_path / "killed", beats(12)))
    shutil.copytree(tmp_path / "killed", tmp_path / "again")
    run(once := script(tmp_path / "killed"))
    in_first = seen(once)
    run(twice := script(tmp_path / "again"))
    assert seen(twice) == in_first


def test_the_step_before_a_failure_is_saved_if_the_policy_says_so(tmp_path):  # 13
    policy = ours(save_on="phase_end", save_on_exception=True)
    with pytest.raises(Crash):
        run(one_phase(policy, beats(12)))
    newest = holdfast.scan(tmp_path / "run")[-1].record
    assert (newest.moment.step, newest.reason.startswith("before Crash")) == (11, True)


def test_restoring_a_checkpoint_restores_the_optimizer_and_the_random_states(tmp_path):  # 5, 11
    made = one_phase(theirs())
    run(made)
    done = optimizer_step(made)
    made.restore_checkpoint("train/train_epoch0")
    assert optimizer_step(made) * 4 == done
    first = torch.rand(3)
    made.restore_checkpoint("train/train_epoch0")
    assert torch.equal(torch.rand(3), first)


def test_a_snapshot_in_memory_is_not_changed_by_training_from_it():  # 6
    made = one_phase(theirs(mode="memory"))
    run(made)
    policy = phase_of(made).checkpointing
    kept = policy.get_state(0)["optimizer"]["internal"]["state_dict"]["state"][0]["step"]
    made.model_graph.set_state(policy.get_state(0))
    made.run_phase(train_phase("more", None), show_sampler_progress=False, show_training_progress=False)
    assert policy.get_state(0)["optimizer"]["internal"]["state_dict"]["state"][0]["step"] == kept


def test_a_checkpoint_made_manually_is_replaced_only_by_a_complete_one(tmp_path, monkeypatch):  # 7, 8, 36
    made = one_phase(None)
    path = made.model_graph.save_checkpoint(tmp_path / "good", overwrite=True)
    before = weights(made)
    run(made)
    refuse_to_sync(monkeypatch)
    with pytest.raises(SaveError, match="No space"):
        made.model_graph.save_checkpoint(tmp_path / "good", overwrite=True)
    monkeypatch.undo()
    made.model_graph.restore_checkpoint(path)
    assert np.array_equal(weights(made), before)


@pytest.mark.medium
@pytest.mark.parametrize("options", [{"max_to_keep": 1}, {"every_n": 3}, {"save_on": "epoch_start"}])
def test_early_stopping_restores_the_best_whatever_the_policy_kept(tmp_path, options):  # 10
    hf.enable(tmp_path / "bare")
    bare = one_phase(None, n_epochs=6, patience=6)
    run(bare)
    made = one_phase(theirs(**options), n_epochs=6, patience=6)
    run(made)
    assert np.array_equal(weights(made), weights(bare))


def test_a_preview_that_fails_leaves_the_weights_as_they_were():  # 12
    made = experiment(beats(5))
    before = weights(made)
    with pytest.raises(Crash):
        made.preview_phase(
            train_phase("look", None), show_sampler_progress=False, show_training_progress=False
        )
    assert np.array_equal(weights(made), before)


def test_a_run_that_failed_is_in_the_history_with_what_was_done():  # 13
    made = planned(None, beats(30))
    with pytest.raises(Crash):
        run(made)
    assert (made.last_run.status, made.last_run.results.labels) == ("failed", ["pretrain"])


def test_a_save_that_fails_is_warned_of_and_does_not_end_the_training(tmp_path, monkeypatch, caplog):  # 14
    run(made := one_phase(theirs(), lambda: refuse_to_sync(monkeypatch)))
    assert made.last_run.status == "completed"
    assert "Training continues without it" in caplog.text
    assert hf.accounting(made).failures == 4


# --- retention, keys and names --------------------------------------------------------------------------


def test_what_is_beyond_max_to_keep_is_deleted_and_no_longer_named(tmp_path):  # 15
    made = one_phase(theirs(max_to_keep=2), n_epochs=6)
    run(made)
    assert names(tmp_path / "run") == ["train_epoch4", "train_epoch5"]
    assert list(made.available_checkpoints) == ["train/train_epoch4", "train/train_epoch5"]
    assert phase_of(made).checkpointing.saved_keys == [4, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_to_keep": 0},
        {"max_to_keep": -3},
        {"every_n": 1.5},
        {"every_n": True},
        {"save_on": []},
        {"name_template": "{}"},
    ],
)
def test_a_value_without_sense_is_refused_at_once(wrong):  # 16, 24, 25
    with pytest.raises(ValueError, match=r"\S"):
        theirs(**wrong)


@pytest.mark.medium
def test_keys_come_in_their_natural_order():  # 17
    made = one_phase(theirs(mode="memory"), n_epochs=12)
    run(made)
    assert phase_of(made).checkpointing.saved_keys == list(range(12))


def test_each_batch_has_a_checkpoint_of_its_own(tmp_path):  # 18, 19
    made = one_phase(theirs(save_on="batch_end", overwrite=False), n_epochs=1)
    run(made)
    assert len(names(tmp_path / "run")) == len(phase_of(made).checkpointing.saved_keys) == 8


def test_each_hook_has_a_name_of_its_own(tmp_path):  # 20, 21
    made = one_phase(theirs(save_on=["phase_start", "epoch_end", "phase_end"]), n_epochs=2)
    run(made)
    assert names(tmp_path / "run") == ["train_start", "train_epoch0", "train_epoch1", "train_end"]


def test_a_dot_in_a_label_cuts_no_name(tmp_path):  # 22
    made = one_phase(theirs(), n_epochs=2, label="lr0.01")
    run(made)
    assert names(tmp_path / "run") == ["lr0.01_epoch0", "lr0.01_epoch1"]


def test_one_policy_in_two_phases_keeps_a_ledger_and_a_folder_for_each(tmp_path):  # 26
    made = planned(theirs())
    run(made)
    for label in ("pretrain", "train"):
        assert phase_of(made, label).checkpointing.saved_keys == [0, 1, 2]
        assert names(tmp_path / "run" / label) == [f"{label}_epoch{epoch}" for epoch in range(3)]


def test_a_template_that_cannot_be_filled_is_refused_before_training():  # 23, 24
    beats = []
    with pytest.raises(ValueError, match="val_loss"):
        run(one_phase(theirs(name_template="{val_loss:.3f}"), lambda: beats.append(1)))
    assert not beats


# --- size, safety ---------------------------------------------------------------------------------------


def test_checkpoints_of_the_experiment_do_not_grow_with_their_number_nor_with_the_data(tmp_path):  # 29, 30
    made = experiment(checkpointing=theirs(save_on="phase_end"))
    made.execution_plan.add_items([train_phase(f"p{number}", None, n_epochs=1) for number in range(6)])
    run(made)
    sizes = [listed.record.size_bytes for listed in holdfast.scan(tmp_path / "run")]
    assert sizes[-1] < 3 * sizes[0]


def test_no_pickle_is_written(tmp_path):  # 33, 34
    made = planned(theirs(), checkpointing=theirs(save_on="experiment_end"))
    run(made)
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file() and file.name != ".run.lock"]
    assert {file.suffix for file in files} == {".json", ".safetensors"}


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path):  # 35
    run(one_phase(ours(), n_epochs=3))
    newest = holdfast.scan(tmp_path / "run")[-1]
    pack = Path(newest.path) / newest.record.packs[-1].name
    content = bytearray(pack.read_bytes())
    content[-100] ^= 1
    pack.write_bytes(content)
    anew = one_phase(ours(), n_epochs=3)
    run(anew)
    assert hf.last_resume(anew).record.name == "train_epoch1"


def test_weights_of_a_dtype_that_numpy_lacks_are_saved(tmp_path):  # 37
    made = experiment()
    made.model_graph.nodes[next(iter(made.model_graph.nodes))].model.to(torch.bfloat16)
    state = made.model_graph.get_state()
    path = made.model_graph.save_checkpoint(tmp_path / "half")
    made.model_graph.set_state(state)
    made.model_graph.restore_checkpoint(path)


def test_going_back_takes_the_history_back(tmp_path):  # 38, 39
    made = planned(None, checkpointing=theirs(save_on="phase_end"))
    run(made)
    made.restore_checkpoint("pretrain")
    assert [entry.results.labels for entry in made.history] == [["pretrain"]]


# --- switching it on and off ----------------------------------------------------------------------------


def test_without_a_directory_of_the_line_that_of_the_experiment_is_used(tmp_path):
    hf.enable()
    made = planned(theirs(), checkpointing=theirs(save_on="phase_end", directory=tmp_path / "own"))
    run(made)
    assert "pretrain" in names(tmp_path / "own")
    assert "train_epoch2" in names(tmp_path / "own" / "train")


def test_a_policy_without_a_mode_saves_an_experiment_to_disk(tmp_path):
    run(planned(None, checkpointing=Checkpointing(save_on="phase_end")))
    assert "pretrain" in names(tmp_path / "run")


@pytest.mark.medium
def test_an_experiment_that_says_nothing_is_saved_by_the_default_policy(tmp_path):
    run(uninterrupted := one_phase(None))
    assert names(tmp_path / "run" / "train")
    hf.enable(tmp_path / "killed")
    with pytest.raises(Crash):
        run(one_phase(None, beats(9)))
    run(resumed := one_phase(None))
    assert hf.last_resume(resumed).verdict == "exact"
    assert hf.state_digest(resumed) == hf.state_digest(uninterrupted)


def test_an_experiment_that_says_when_to_save_is_saved_only_then(tmp_path):
    run(planned(None, checkpointing=theirs(save_on="phase_end")))
    assert not list((tmp_path / "run").glob("*/*.mml"))


def test_without_a_directory_an_experiment_that_says_nothing_is_warned_of(caplog):
    hf.enable()
    run(made := one_phase(None))
    assert "has no directory, and nothing is saved" in caplog.text
    with pytest.raises(UsageError, match="saves nothing to disk"):
        hf.accounting(made)


def test_a_policy_to_disk_without_any_directory_is_refused_before_training():
    hf.enable()
    beats = []
    with pytest.raises(UsageError, match="directory"):
        run(one_phase(theirs(), lambda: beats.append(1)))
    assert not beats


def test_disabled_modularml_is_as_it_was():
    hf.disable()
    assert mml.Experiment.run.__module__ == "modularml.core.experiment.experiment"
    assert not hasattr(mml.Experiment.run, "__wrapped__")
    hf.enable()
    assert hasattr(mml.Experiment.run, "__wrapped__")


@pytest.mark.medium
def test_another_graph_is_refused_before_anything_changes(tmp_path):
    run(one_phase(ours()))
    other = experiment()
    extra = mml.ModelNode("extra", torch.nn.Linear(1, 1), upstream_ref=other.ctx.get_node(label="head"))
    other.model_graph.add_node(extra)
    other.execution_plan.add_item(train_phase("train", ours()))
    with pytest.raises(PlanMismatchError, match="extra"):
        run(other)


def test_an_unknown_version_is_refused_by_name():
    code = (
        "import importlib.metadata as m; m.version = lambda name: '2.0.0'\n"
        "try: import holdfast.integrations.modularml\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("UsageError ModularML 2.0.0 is not known")


def test_asking_before_a_run_says_so():
    with pytest.raises(UsageError, match="has not run"):
        hf.last_resume(experiment())


@pytest.mark.slow
def test_the_example_is_killed_and_ends_as_one_that_was_not(tmp_path):
    pytest.importorskip("sklearn")
    script = Path(__file__).parents[2] / "examples" / "modularml_digits.py"

    def start(directory: str) -> subprocess.Popen:
        command = [sys.executable, str(script), directory]
        return subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    uninterrupted, killed = start("uninterrupted"), start("killed")
    deadline = time.monotonic() + 200
    while not names(tmp_path / "killed") and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    ended, wanted = start("killed").communicate()[0].splitlines(), uninterrupted.communicate()[0].splitlines()
    assert ended[-3].startswith("resumed from train_epoch")
    assert ended[-3].endswith(": exact")
    assert ended[-2:] == wanted[-2:]


def non_finite(model, at: int):
    """A beat that makes weights NaN in the batch of this number."""
    counted = 0

    def beat() -> None:
        nonlocal counted
        counted += 1
        if counted == at:
            model().fill_(float("nan"))

    return beat


@pytest.mark.medium
def test_a_phase_that_diverges_stops_or_is_warned_of(tmp_path, caplog):
    def weights():
        nodes = made.model_graph.nodes.values()
        return next(next(node.model.parameters() for node in nodes if hasattr(node, "model"))).data

    for what, match in (("warn", None), ("stop", "the run diverged")):
        hf.enable(tmp_path / what)
        made = one_phase(ours(save_on="batch_end", every_n=2, on_divergence=what), non_finite(weights, 9))
        if match is None:
            run(made)
        else:
            with pytest.raises(DivergenceError, match=match):
                run(made)
    assert "the run is diverging" in caplog.text


def test_what_does_not_work_here_is_refused_before_training(tmp_path):
    with pytest.raises(UsageError, match="its loops only go forward"):
        run(one_phase(ours(on_divergence="rollback")))
    with pytest.raises(UsageError, match="its loops only go forward"):
        hf.enable(checkpointing=ours(on_divergence="rollback"))
    for policy in (
        ours(save_on="phase_end", save_on_preemption=True),
        Checkpointing(mode="disk", when="10 min"),
        ours(save_on="phase_end", on_divergence="warn"),
    ):
        with pytest.raises(UsageError, match="not of steps"):
            run(planned(None, checkpointing=policy))
    assert not holdfast.scan(tmp_path / "run")


# --- what a resume expects next -------------------------------------------------------------------------


def interrupted(n_beats: int, **options) -> None:
    with pytest.raises(Crash):
        run(planned(ours(save_on="batch_end"), beats(n_beats), **options))


@pytest.mark.medium
def test_a_resume_names_the_sampler_that_will_draw_another_order():
    interrupted(5)  # in the first of two phases
    anew = planned(ours(save_on="batch_end"))
    anew.execution_plan.get_train_phase("train").input_sources[0].sampler.batcher.rng = np.random.default_rng(
        9
    )
    run(anew)
    assert [*hf.last_resume(anew).differences] == [
        "the random state 'train: batcher 0' gives another number next than it would have"
    ]


@pytest.mark.medium
def test_a_resume_names_a_next_batch_of_other_samples(monkeypatch):
    interrupted(5)
    monkeypatch.setattr(
        "holdfast.integrations.modularml._training.put_batches", lambda executions, saved: None
    )
    anew = planned(ours(save_on="batch_end"))
    sampler = anew.execution_plan.get_train_phase("pretrain").input_sources[0].sampler
    sampler.batcher.rng = np.random.default_rng(9)
    run(anew)
    assert [*hf.last_resume(anew).differences] == ["the data give another next batch than they would have"]


def test_a_signal_is_answered_at_a_hook_of_the_experiment(tmp_path):
    """It comes in an evaluation, after which no training loop comes to a hook any more."""
    made = experiment(checkpointing=ours(save_on="experiment_start"))
    made.execution_plan.add_items(
        [
            train_phase("train", ours(save_on="phase_end", save_on_preemption=True)),
            mml.EvalPhase.from_split("test", split="val", losses=[loss()]),
        ]
    )

    def leave(*_):
        if not torch.is_grad_enabled():
            os.kill(os.getpid(), signal.SIGTERM)

    next(iter(made.model_graph.nodes.values())).model.model.register_forward_hook(leave)
    with pytest.raises(Preempted):
        run(made)
    newest = [listed.record for listed in holdfast.scan(tmp_path / "run") if listed.record][-1]
    assert (newest.name, newest.reason) == ("test", "told to leave (SIGTERM)")
