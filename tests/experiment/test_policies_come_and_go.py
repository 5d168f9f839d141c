"""Policies that are switched off for a while, given, exchanged and taken away."""

from __future__ import annotations

import pytest
import torch

from holdfast import Checkpointing
from holdfast.errors import UsageError
from tests.support.small_runs import At, experiment, on_disk, train


def plan(directory):
    return experiment(
        directory,
        train("a", n_epochs=3, checkpointing=on_disk()),
        train("b", n_epochs=2, checkpointing=on_disk()),
        checkpointing=on_disk("phase_end"),
    )


def test_switching_off_lasts_until_the_end_of_the_block_even_if_it_fails(tmp_path):
    run = plan(tmp_path)
    failing = train(callbacks=[At("epoch_end", 1, do=RuntimeError("boom"))], checkpointing=on_disk())
    with pytest.raises(RuntimeError, match="boom"), run.disable_checkpointing():
        run.run_phase(failing)
    assert run.available_checkpoints == {}
    run.run_phase("a")
    assert list(run.available_checkpoints) == ["a/a_epoch0", "a/a_epoch1", "a/a_epoch2"]


def test_a_block_inside_a_block_does_not_switch_on_again(tmp_path):
    run = plan(tmp_path)
    with run.disable_checkpointing():
        with run.disable_checkpointing():
            run.run_phase("a")
        run.run_phase("a")
    assert run.available_checkpoints == {}


def test_memory_checkpoints_are_switched_off_too():
    policy = Checkpointing(mode="memory")
    run = experiment(None, train(checkpointing=policy))
    with run.disable_checkpointing():
        run.run()
    assert policy.saved_keys == []
    run.run()
    assert policy.saved_keys == [0, 1, 2]


def test_a_run_without_saving_is_the_run_with_it(tmp_path):
    saving, not_saving = plan(tmp_path), plan(tmp_path)
    torch.manual_seed(1)
    saving.run()
    torch.manual_seed(1)
    with not_saving.disable_checkpointing():
        not_saving.run()
    assert not_saving.state_digest() == saving.state_digest()


def test_a_checkpoint_requested_manually_is_saved_though_the_policies_are_switched_off(tmp_path):
    run = plan(tmp_path)
    with run.disable_checkpointing():
        run.run()
        run.save_checkpoint("mine")
    assert list(run.available_checkpoints) == ["mine"]


def test_policies_can_be_given_exchanged_and_taken_away(tmp_path):
    phase = train(n_epochs=2)
    run = experiment(tmp_path, phase)
    run.run()
    assert run.available_checkpoints == {}
    phase.set_checkpointing(on_disk(name_template="x{epoch}"))
    run.set_checkpointing(on_disk("experiment_end"))
    run.run()
    assert list(run.available_checkpoints) == ["train/x0", "train/x1", "END"]
    phase.set_checkpointing(on_disk("phase_end"))
    run.set_checkpointing(None)
    run.run()
    assert list(run.available_checkpoints) == ["train/x0", "train/x1", "END", "train/train_end"]
    assert phase.checkpointing.saved_keys == ["phase_end"]


def test_a_policy_that_cannot_work_leaves_the_one_before(tmp_path):
    policy = on_disk("phase_end")
    run = experiment(tmp_path, checkpointing=policy)
    phase = train(checkpointing=(own := on_disk()))
    for given_to, bad in (
        (run, Checkpointing(mode="memory", save_on="phase_end")),
        (phase, on_disk("group_end")),
    ):
        with pytest.raises(UsageError):
            given_to.set_checkpointing(bad)
    assert (run.checkpointing, phase.checkpointing) == (policy, own)
