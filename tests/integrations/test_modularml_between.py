"""ModularML scripts that put the graph back between two phases or folds: killed behind that, they resume exactly."""

from __future__ import annotations

import importlib.util
from contextlib import suppress

import pytest

if any(importlib.util.find_spec(name) is None for name in ("modularml", "matplotlib", "IPython")):
    pytest.skip("modularml is not installed", allow_module_level=True)

import modularml as mml
import torch

from holdfast import Checkpointing, Write
from holdfast.integrations import modularml as hf
from holdfast.integrations.modularml._graph import live_parts
from tests.support.integrations.crashing import Crash, beats
from tests.support.integrations.modularml_experiment import QUIET, experiment, run_phase, train_phase

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore::UserWarning:modularml")


def policy() -> Checkpointing:
    return Checkpointing(save_on=["batch_end", "epoch_end"], write=Write(durability="process"))


def going_back(beat):
    """Back to an epoch of the first phase, then a second one."""
    made = experiment(beat)
    run_phase(made, train_phase("one", policy(), n_epochs=2))
    keys = [key for key in made.available_checkpoints if key.endswith("one_epoch0")]
    made.restore_checkpoint(keys[0])
    run_phase(made, train_phase("two", policy(), n_epochs=2))
    return made


def cross_validation(beat):
    """Each fold begins with the graph as it was before the first."""
    made = experiment(beat)
    folds = mml.CrossValidation(
        bindings=mml.CVBinding("data", source_splits=["train", "val"]),
        n_folds=2,
        phase=train_phase("train", policy(), n_epochs=2),
        experiment=made,
    )
    folds.run(
        show_fold_progress=False,
        **{name: value for name, value in QUIET.items() if name != "persist_progress"},
    )
    return made


def watching(beat):
    """What the script has seen of the weights decides what the second phase begins with."""
    made = experiment(beat)
    run_phase(made, train_phase("one", policy(), n_epochs=2))
    model, *_ = live_parts(made.model_graph)["model_graph"].values()
    norms = [float(each.detach().norm()) for each in model.parameters()]
    draw = torch.rand(2)
    run_phase(made, train_phase("two", policy(), n_epochs=2))
    with torch.no_grad():
        for each, norm in zip(model.parameters(), norms, strict=True):
            each.add_(norm + draw[0])
    run_phase(made, train_phase("three", policy(), n_epochs=1))
    return made


def ended(script, directory, cut=None):
    hf.enable(directory)
    try:
        made = script(beats(cut))
        return hf.state_digest(made), hf.last_resume(made)
    finally:
        hf.disable()


@pytest.mark.medium
@pytest.mark.parametrize("script", [going_back, cross_validation])
@pytest.mark.parametrize("cut", [5, 20, 27])
def test_what_is_put_back_between_is_put_back_again_before_the_resumed_step(script, cut, tmp_path):
    uninterrupted, _ = ended(script, tmp_path / "uninterrupted")
    with suppress(Crash):
        ended(script, tmp_path / "cut", cut)
    digest, report = ended(script, tmp_path / "cut")
    assert report is not None
    assert report.verdict == "exact"
    assert digest == uninterrupted


@pytest.mark.medium
def test_variables_that_come_out_otherwise_between_calls_are_named(tmp_path):
    with suppress(Crash):
        ended(watching, tmp_path, 20)
    _, report = ended(watching, tmp_path)
    assert report is not None
    assert report.verdict == "exact but for: draw, norms"


@pytest.mark.medium
def test_feature_sets_of_other_values_are_named(tmp_path, monkeypatch):
    with suppress(Crash):
        ended(going_back, tmp_path, 20)
    given = mml.FeatureSet.from_dict

    def other(**arguments):
        data = {name: [each + 1 for each in column] for name, column in arguments.pop("data").items()}
        return given(**arguments, data=data)

    monkeypatch.setattr(mml.FeatureSet, "from_dict", other)
    _, report = ended(going_back, tmp_path)
    assert report is not None
    assert report.verdict.startswith("not exact: the values of data have changed: ")
