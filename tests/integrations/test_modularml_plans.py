"""Experiments of ModularML that are out of the ordinary: fixed ids, no graph, a plan grown shorter."""

from __future__ import annotations

import importlib.util

import pytest

if any(importlib.util.find_spec(name) is None for name in ("modularml", "matplotlib", "IPython")):
    pytest.skip("modularml is not installed", allow_module_level=True)

import modularml as mml
import torch
from modularml_experiment import experiment, run, train_phase

import holdfast
from holdfast import Checkpointing
from holdfast.integrations import modularml as hf

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore::UserWarning:modularml")
QUIET = {"show_sampler_progress": False, "show_training_progress": False}


@pytest.fixture(autouse=True)
def enabled(tmp_path):
    hf.enable(tmp_path / "run")
    yield
    hf.disable()


def ours(**options):
    return Checkpointing(**{"mode": "disk", "save_on": "epoch_end", **options})


def planned(rule, *, n_epochs, beat=lambda: None, **options):
    made = experiment(beat, **options)
    made.execution_plan.add_item(train_phase("train", rule, n_epochs=n_epochs))
    return made


def weights(made) -> list[torch.Tensor]:
    nodes = sorted(made.model_graph.nodes.values(), key=lambda node: node.label)
    models = [node.model for node in nodes if isinstance(node, mml.ModelNode)]
    return [each.detach().clone() for model in models for each in model.parameters()]


def test_nodes_with_fixed_ids_are_restored_by_a_new_script_and_train_on(tmp_path):  # 3
    made = planned(None, n_epochs=1, node_ids=("encoder", "head"))
    run(made)
    path = made.model_graph.save_checkpoint(tmp_path / "by_hand")
    wanted = weights(made)
    anew = experiment(node_ids=("encoder", "head"))
    anew.model_graph.restore_checkpoint(path)
    assert all(map(torch.equal, weights(anew), wanted))
    anew.run_phase(train_phase("more", None, n_epochs=1), **QUIET)
    assert not all(map(torch.equal, weights(anew), wanted))


@pytest.mark.parametrize("kind", [mml.Checkpointing, Checkpointing])
def test_an_unknown_hook_is_refused_before_training(kind):  # 25
    beats = []
    with pytest.raises(ValueError, match="epohc_end"):
        run(planned(kind(mode="disk", save_on="epohc_end"), n_epochs=1, beat=lambda: beats.append(1)))
    assert not beats


def test_a_shorter_run_in_the_same_directory_knows_only_what_is_its_own(tmp_path):  # 27
    run(planned(ours(), n_epochs=4))
    hf.enable(tmp_path / "run", resume=False)
    shorter = planned(ours(), n_epochs=2)
    run(shorter)
    assert [*shorter.available_checkpoints] == ["train/train_epoch0", "train/train_epoch1"]
    hf.enable(tmp_path / "run")
    anew = planned(ours(), n_epochs=2)
    run(anew)
    assert hf.last_resume(anew).record.name == "train_epoch1"
    assert hf.state_digest(anew) == hf.state_digest(shorter)


def test_the_config_of_an_experiment_is_what_it_is_without_the_line():  # 28
    held = planned(ours(), n_epochs=1, checkpointing=ours(save_on="phase_end"))
    run(held)
    config = held.get_config()
    hf.disable()
    assert config == held.get_config()
    assert config.keys() == {
        "label",
        "registration_policy",
        "execution_plan",
    }  # no rule: it stays the script's


def test_an_experiment_without_a_graph_is_saved_and_restored(tmp_path):  # 38
    mml.ExperimentContext._set_active(mml.ExperimentContext())
    rule = mml.Checkpointing(mode="disk", save_on="experiment_end")
    made = mml.Experiment.from_active_context(label="empty", checkpointing=rule)
    made.set_checkpoint_dir(tmp_path / "by_hand")
    path = made.save_checkpoint("before")
    run(made)
    assert [listed.record.name for listed in holdfast.scan(tmp_path / "run")] == ["END"]
    assert made.model_graph is None
    assert made.last_run.status == "completed"
    made.restore_checkpoint(path)
    assert made.history == []  # as it was before the run
