"""Experiments of ModularML that are out of the ordinary: fixed ids, no graph, a plan grown shorter."""

from __future__ import annotations

import importlib.util

import pytest

if any(importlib.util.find_spec(name) is None for name in ("modularml", "matplotlib", "IPython")):
    pytest.skip("modularml is not installed", allow_module_level=True)

import modularml as mml
import torch

import holdfast
from holdfast import Checkpointing
from holdfast.errors import UsageError
from holdfast.integrations import modularml as hf
from tests.support.integrations.modularml_experiment import experiment, run, train_phase

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore::UserWarning:modularml")
QUIET = {"show_sampler_progress": False, "show_training_progress": False}


@pytest.fixture(autouse=True)
def enabled(tmp_path):
    hf.enable(tmp_path / "run")
    yield
    hf.disable()


def ours(**options):
    return Checkpointing(**{"mode": "disk", "save_on": "epoch_end", **options})


def planned(policy, *, n_epochs, beat=lambda: None, **options):
    made = experiment(beat, **options)
    made.execution_plan.add_item(train_phase("train", policy, n_epochs=n_epochs))
    return made


def weights(made) -> list[torch.Tensor]:
    nodes = sorted(made.model_graph.nodes.values(), key=lambda node: node.label)
    models = [node.model for node in nodes if isinstance(node, mml.ModelNode)]
    return [each.detach().clone() for model in models for each in model.parameters()]


@pytest.mark.medium
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


@pytest.mark.medium
def test_a_shorter_run_in_the_same_directory_knows_only_what_is_its_own(tmp_path):  # 27
    run(planned(ours(), n_epochs=4))
    first = {each.record.id for each in holdfast.scan(tmp_path / "run")}
    hf.enable(tmp_path / "run", resume=False)
    shorter = planned(ours(max_to_keep=1), n_epochs=2)
    run(shorter)
    assert [*shorter.available_checkpoints] == ["train/train_epoch1"]
    there = {each.record.name: each.record for each in holdfast.scan(tmp_path / "run")}
    assert {name for name, record in there.items() if record.id in first} == {"train_epoch2", "train_epoch3"}
    hf.enable(tmp_path / "run")
    anew = planned(ours(max_to_keep=1), n_epochs=2)
    run(anew)
    assert hf.last_resume(anew).record.name == "train_epoch1"
    assert hf.state_digest(anew) == hf.state_digest(shorter)


@pytest.mark.parametrize("kind", [mml.Checkpointing, Checkpointing])
def test_the_policies_of_an_experiment_and_its_phases_survive_its_config(kind, tmp_path):  # 28
    more = {"thin_after": 2} if kind is Checkpointing else {}
    complete = kind(mode="disk", save_on="phase_end", directory=tmp_path / "whole", max_to_keep=3, **more)
    part = kind(mode="disk", save_on="epoch_end", every_n=2, **more)
    held = planned(part, n_epochs=2, checkpointing=complete)
    config = held.get_config()
    anew = mml.Experiment.from_config(config)
    [phase] = anew.execution_plan.all
    for made, given in [(anew.checkpointing, complete), (phase.checkpointing, part)]:
        assert type(made) is kind
        assert made.get_config() == given.get_config()


def test_a_config_with_a_policy_is_read_without_the_line_too(tmp_path):  # 28
    policy = mml.Checkpointing(mode="disk", save_on="phase_end", directory=tmp_path / "whole")
    config = planned(None, n_epochs=1, checkpointing=policy).get_config()
    hf.disable()
    assert mml.Experiment.from_config(config).checkpointing is None
    assert mml.Experiment.from_config.__func__.__module__ == "modularml.core.experiment.experiment"


def test_asking_a_policy_without_a_template_for_a_name_says_what_is_missing():  # 23
    with pytest.raises(UsageError, match="name_template"):
        mml.Checkpointing(mode="disk", save_on="epoch_end").format_name(phase="train", epoch=1, batch=0)


def test_an_experiment_without_a_graph_is_saved_and_restored(tmp_path):  # 38
    mml.ExperimentContext._set_active(mml.ExperimentContext())
    policy = mml.Checkpointing(mode="disk", save_on="experiment_end")
    made = mml.Experiment.from_active_context(label="empty", checkpointing=policy)
    made.set_checkpoint_dir(tmp_path / "by_hand")
    path = made.save_checkpoint("before")
    run(made)
    assert [listed.record.name for listed in holdfast.scan(tmp_path / "run")] == ["END"]
    assert made.model_graph is None
    assert made.last_run.status == "completed"
    made.restore_checkpoint(path)
    assert made.history == []  # as it was before the run
