"""A run goes on only with what it was begun with; where that is not so, it says what differs and changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import Callback, EvalPhase, Experiment, rng, state
from holdfast.errors import PlanMismatchError, StateMismatchError, UsageError
from tests.support.plans import CE, Crashed, Saving, build, crash, listing, places, resume, rows, run, watch

IN_SECOND_PHASE = 60  # of the hooks of `plain`: in epoch 2 of the second phase


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> Path:
    """A run that ended in its second phase, saved at every hook; not to be changed."""
    directory = tmp_path_factory.mktemp("crashed")
    crash("plain", Saving(str(directory)), IN_SECOND_PHASE)
    return directory


def everything(experiment: Experiment, directory: Path) -> tuple:
    streams = [
        random.getstate()[1][-1],
        np.random.get_state()[2],
        state.digest(state.capture(rng.capture_state())),
    ]
    there = [file for file in sorted(directory.rglob("*")) if file.is_file() and file.name[0] != "."]
    files = [(str(file), file.read_bytes()) for file in there]
    models = state.digest(state.capture(experiment.graph))
    return models, streams, experiment.history, dict(experiment.results), files


def extra():
    return (EvalPhase("look", data=rows(), losses=[CE]),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"second": "renamed"}, ["'second' had been run or begun, and is no longer in the plan"]),
        ({"batch_size": 4}, ["'second: data': batch_size was 8 and is 4"]),
        ({"data_seed": 7}, ["'second: data': digest was"]),
        ({"epochs": (2, 1)}, ["'second': 3 epochs had been run, and the plan now has 1"]),
        ({"before": extra}, ["'look' is new, and stands before phases that had been run"]),
        ({"label": "other"}, ["is of experiment 'plan', and this is 'other'"]),
        ({"freeze": ("encoder",)}, ["'second': freeze was [] and is ['encoder']"]),
        ({"callbacks": (Callback(),)}, ["the experiment had 1 callbacks and has 2"]),
        (
            {"batch_size": 4, "freeze": ("head",)},
            ["batch_size was 8 and is 4", "freeze was [] and is ['head']"],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("place", [True, "second/second_epoch2_batch0"])
def test_a_plan_that_no_longer_fits_is_refused_with_all_that_differs(changes, said, place, crashed):
    changes = {name: value() if value is extra else value for name, value in changes.items()}
    changed = build("plain", Saving(str(crashed)), **changes)
    before = everything(changed, crashed)
    with pytest.raises(PlanMismatchError) as refusal:
        changed.run(resume=place, progress=False)
    for sentence in said:
        assert sentence in str(refusal.value)
    assert len(refusal.value.differences) == len(said)
    assert everything(changed, crashed) == before
    assert places(changed) == []


@pytest.mark.parametrize("place", [True, "second/second_epoch2_batch0"])
def test_models_of_another_shape_are_refused_leaf_by_leaf(place, crashed):
    changed = build("plain", Saving(str(crashed)), width=9)
    before = everything(changed, crashed)
    with pytest.raises(StateMismatchError) as refusal:
        changed.run(resume=place, progress=False)
    assert any(each.startswith("model_graph/head/weight") for each in refusal.value.problems)
    assert any(each.startswith("model_graph/encoder/0.weight") for each in refusal.value.problems)
    assert everything(changed, crashed) == before


def test_phases_that_had_not_begun_may_change(crashed, tmp_path):
    """Resumed where the first phase ends; so the second one may be another than it was."""
    directory = tmp_path / "run"
    shutil.copytree(crashed, directory)
    changes = {"second": "renamed", "batch_size": 4, "data_seed": 7, "epochs": (2, 1)}
    changed = resume("plain", Saving(str(directory)), "first/first_end", **changes)
    assert changed.state_digest() == run("plain", **changes).state_digest()


@pytest.mark.medium
def test_more_epochs_of_a_half_done_phase_are_no_other_plan(crashed, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(crashed, directory)
    longer = resume("plain", Saving(str(directory)), epochs=(2, 5))
    assert longer.state_digest() == run("plain", epochs=(2, 5)).state_digest()


def test_without_a_directory_there_is_nothing_to_resume_from():
    with pytest.raises(UsageError, match="no directory to resume from"):
        build("plain").run(resume=True, progress=False)


@pytest.mark.medium
def test_without_a_checkpoint_the_run_begins(tmp_path, uninterrupted):
    begun = build("plain", Saving(str(tmp_path)))
    begun.run(resume=True, progress=False)
    assert begun.last_resume is None
    assert begun.state_digest() == uninterrupted("plain").digest


def test_a_run_that_failed_resumes_in_the_same_process_with_the_same_objects(uninterrupted, tmp_path):
    """Gradients of the accumulation that it died in are still on the models then."""
    begun = build("accumulated", Saving(str(tmp_path), training={"save_on": "epoch_end"}))
    watch(begun).crash_at = 22
    with pytest.raises(Crashed):
        begun.run(progress=False)
    assert any(parameter.grad is not None for parameter in begun.graph.parameters())
    watch(begun).crash_at = None
    torch.rand(5)
    begun.run(resume=True, progress=False)
    assert begun.state_digest() == uninterrupted("accumulated").digest
    assert [(entry.status, len(entry.resumed_from)) for entry in begun.history] == [("complete", 1)]
    assert listing(tmp_path)
