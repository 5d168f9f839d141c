"""ModularML scripts that put the graph back between two phases or folds: killed behind that, they resume exactly."""

from __future__ import annotations

import importlib.util
from contextlib import suppress

import pytest

if any(importlib.util.find_spec(name) is None for name in ("modularml", "matplotlib", "IPython")):
    pytest.skip("modularml is not installed", allow_module_level=True)

import modularml as mml

from holdfast import Checkpointing, Write
from holdfast.integrations import modularml as hf
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
