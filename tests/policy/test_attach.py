"""Attaching a policy to its parent: what is refused there, and whose ledger it then is."""

import copy
import pickle
import warnings
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from holdfast.policy import (
    EXPERIMENT_HOOKS,
    EXPERIMENT_NAME_TEMPLATE,
    EXPERIMENT_PLACEHOLDERS,
    TRAINING_HOOKS,
    TRAINING_NAME_TEMPLATE,
    TRAINING_PLACEHOLDERS,
    Checkpointing,
    attach_to_experiment,
    attach_to_training,
    training_directory,
)


def on_disk(**more) -> Checkpointing:
    return Checkpointing(mode="disk", **{"save_on": "phase_end", **more})


def test_the_constants_are_those_of_the_contract():
    assert (
        frozenset(["phase_start", "phase_end", "epoch_start", "epoch_end", "batch_start", "batch_end"])
        == TRAINING_HOOKS
    )
    assert (
        frozenset(
            ["phase_start", "phase_end", "group_start", "group_end", "experiment_start", "experiment_end"]
        )
        == EXPERIMENT_HOOKS
    )
    assert frozenset({"phase", "epoch", "batch"}) == TRAINING_PLACEHOLDERS
    assert frozenset({"label"}) == EXPERIMENT_PLACEHOLDERS
    assert (TRAINING_NAME_TEMPLATE, EXPERIMENT_NAME_TEMPLATE) == ("{phase}_epoch{epoch}", "{label}")
    assert all(type(names) is frozenset for names in (TRAINING_HOOKS, EXPERIMENT_HOOKS))


def test_all_training_hooks_can_be_attached_to_a_phase_in_both_modes():
    for mode in ("memory", "disk"):
        policy = Checkpointing(mode=mode, save_on=TRAINING_HOOKS)
        assert attach_to_training(policy) is policy


def test_all_experiment_hooks_can_be_attached_to_an_experiment_on_disk():
    policy = on_disk(save_on=EXPERIMENT_HOOKS)
    assert attach_to_experiment(policy) is policy


@pytest.mark.parametrize("hook", ["epohc_end", "group_end", "experiment_start"])
def test_an_unknown_hook_is_refused_by_a_phase_which_names_those_it_knows(hook):
    with pytest.raises(ValueError) as caught:
        attach_to_training(Checkpointing(save_on=["epoch_end", hook]))
    assert str([hook]) in str(caught.value)
    assert str(sorted(TRAINING_HOOKS)) in str(caught.value)


@pytest.mark.parametrize("hook", ["epoch_end", "batch_start", "nonsense"])
def test_an_unknown_hook_is_refused_by_an_experiment_which_names_those_it_knows(hook):
    with pytest.raises(ValueError) as caught:
        attach_to_experiment(on_disk(save_on=hook))
    assert str([hook]) in str(caught.value)
    assert str(sorted(EXPERIMENT_HOOKS)) in str(caught.value)


def test_an_experiment_refuses_memory_mode_and_says_what_to_pass():
    with pytest.raises(ValueError, match="mode='disk'"):
        attach_to_experiment(Checkpointing(mode="memory", save_on="phase_end"))


def test_an_unset_mode_means_disk_on_an_experiment():
    assert attach_to_experiment(Checkpointing(save_on="phase_end")).mode == "disk"


def test_a_placeholder_of_the_other_context_is_refused():
    with pytest.raises(
        ValueError, match=r"for TrainPhase: \['label'\]. Allowed: \['batch', 'epoch', 'phase'\]"
    ):
        attach_to_training(Checkpointing(name_template="{label}"))
    with pytest.raises(ValueError, match=r"for Experiment: \['epoch'\]. Allowed: \['label'\]"):
        attach_to_experiment(on_disk(name_template="{label}{epoch}"))


@pytest.mark.parametrize(
    "template", ["{phase:04d}", "{epoch:q}", "{epoch:c}", "{epoch:/>4}", "a/{epoch}", "", ".{phase}"]
)
def test_a_template_that_would_fail_at_the_first_save_is_refused_when_attached(template):
    with pytest.raises(UsageError):
        attach_to_training(Checkpointing(name_template=template))


@pytest.mark.parametrize(
    ("attach", "policy"),
    [
        (attach_to_training, Checkpointing(save_on="group_end")),
        (attach_to_experiment, Checkpointing(mode="memory", save_on="phase_end")),
        (attach_to_experiment, on_disk(name_template="{phase}")),
    ],
    ids=["hook", "mode", "placeholder"],
)
def test_a_refused_policy_is_left_as_it_was(attach, policy):
    before = policy.get_config()
    with pytest.raises(UsageError):
        attach(policy)
    assert policy.get_config() == before
    policy.name_template = "{anything}"  # no parent has laid its policies on it


def test_attaching_sets_the_template_of_the_context_only_when_there_is_none():
    assert attach_to_training(Checkpointing()).name_template == TRAINING_NAME_TEMPLATE
    assert attach_to_experiment(on_disk()).name_template == EXPERIMENT_NAME_TEMPLATE
    assert attach_to_training(Checkpointing(name_template="{epoch}")).name_template == "{epoch}"


def test_a_policy_on_two_phases_has_two_ledgers():
    policy = Checkpointing(every_n=2)
    first = attach_to_training(policy)
    first.record_memory(0, {"a": 1})
    first.should_save("epoch_end")
    second = attach_to_training(policy)
    assert first is policy
    assert second is not policy
    assert (second.saved_keys, second.get_counters()) == ([], {})
    assert second.get_config() == first.get_config()
    second.reset()
    assert first.saved_keys == [0]


def test_a_policy_of_an_experiment_can_be_attached_to_its_phase_and_back():
    policy = on_disk()
    attach_to_experiment(policy)
    phase = attach_to_training(policy)
    assert (policy.name_template, phase.name_template) == (EXPERIMENT_NAME_TEMPLATE, TRAINING_NAME_TEMPLATE)
    assert attach_to_experiment(phase).name_template == EXPERIMENT_NAME_TEMPLATE


def test_a_second_parent_that_refuses_changes_nothing_for_the_first():
    policy = attach_to_training(Checkpointing())
    with pytest.raises(UsageError):
        attach_to_experiment(policy)
    assert policy.name_template == TRAINING_NAME_TEMPLATE


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copied_policy_knows_that_it_has_a_parent(duplicate):
    twin = duplicate(attach_to_training(Checkpointing()))
    assert attach_to_training(twin) is not twin


def test_copying_for_a_second_parent_does_not_warn_again(tmp_path):
    policy = attach_to_training(on_disk(directory=tmp_path))
    (tmp_path / "a.ckpt.mml").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attach_to_training(policy).directory == tmp_path


def test_a_template_set_after_attaching_is_checked_too():
    policy = attach_to_training(Checkpointing())
    with pytest.raises(UsageError, match="for TrainPhase"):
        policy.name_template = "{label}"
    policy.name_template = "{epoch}"
    policy.name_template = None
    assert policy.name_template == TRAINING_NAME_TEMPLATE


def test_what_is_no_checkpointing_is_refused():
    with pytest.raises(UsageError, match="must be a Checkpointing"):
        attach_to_training({"mode": "disk"})  # type: ignore[arg-type]


# Directories


def test_a_phase_without_a_directory_has_a_folder_in_that_of_the_experiment():
    policy = attach_to_training(on_disk())
    assert training_directory(policy, Path("runs"), "pretrain") == Path("runs/pretrain")
    assert training_directory(policy, Path("runs"), "finetune") == Path("runs/finetune")
    assert policy.directory is None


def test_an_explicit_directory_is_used_as_it_is():
    assert training_directory(on_disk(directory="mine"), Path("runs"), "pretrain") == Path("mine")


def test_in_memory_there_is_no_directory():
    assert training_directory(Checkpointing(mode="memory"), Path("runs"), "pretrain") is None


def test_an_unset_mode_follows_the_experiment_and_may_follow_another_one_later():
    policy = attach_to_training(Checkpointing())
    assert training_directory(policy, None, "pretrain") is None
    assert policy.mode == "memory"
    assert training_directory(policy, Path("runs"), "pretrain") == Path("runs/pretrain")
    assert policy.mode == "disk"
    assert training_directory(policy, None, "pretrain") is None
    assert policy.mode == "memory"


def test_with_no_directory_to_inherit_the_error_names_the_phase_and_the_remedy():
    with pytest.raises(UsageError, match=r"phase 'pretrain'.*directory="):
        training_directory(on_disk(), None, "pretrain")
