"""After a resume a policy counts, keeps, names and deletes as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import holdfast
from holdfast.errors import CheckpointExistsError, UsageError
from tests.support.plans import Saving, build, crash, listing, places, resume, run

HOOKS = 66  # of `plain`


def saving(directory: Path, **training) -> Saving:
    policies = {"save_on": ["batch_end", "epoch_start"], "every_n": 3, "max_to_keep": 4, **training}
    complete = {"save_on": ["phase_start", "phase_end"], "every_n": 1, "max_to_keep": 2}
    return Saving(str(directory), training=policies, experiment=complete)


def ledger_of(policy) -> tuple:
    paths = [str(policy.get_path(key)).rpartition("/")[2] for key in policy.keys_by_age]
    return policy.saved_keys, policy.keys_by_age, policy.get_counters(), paths


def ledgers(experiment) -> list[tuple]:
    return [
        ledger_of(policy)
        for policy in (experiment.checkpointing, *(unit.checkpointing for unit in experiment.units))
    ]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    made = run("plain", saving(directory))
    assert len(places(made)) == HOOKS
    return ledgers(made), listing(directory), made.state_digest()


@pytest.mark.medium
@pytest.mark.parametrize("first", range(4, HOOKS, 6))
def test_counters_keys_and_files_after_two_resumes_are_those_of_an_uninterrupted_run(
    first, complete, tmp_path
):
    policies = saving(tmp_path)
    crash("plain", policies, first)
    second = crash("plain", policies, 2, place=True)
    resumed = resume("plain", policies)
    assert resumed.state_digest() == complete[2]
    assert ledgers(resumed) == complete[0]
    resumed_from = {each.last_resume.record.name for each in (second, resumed) if each.last_resume}
    saved = listing(tmp_path)
    assert [each for each in saved if each in complete[1]] == complete[1]
    assert {name for name, *_ in saved} - {name for name, *_ in complete[1]} <= resumed_from


def test_after_going_back_by_name_and_another_crash_abandoned_training_is_not_in_the_ledger(
    complete, tmp_path
):
    policies = saving(tmp_path, max_to_keep=None)
    kept = ledgers(run("plain", policies))
    crash("plain", policies, 12, place="second/second_epoch0_batch2")
    resumed = resume("plain", policies)
    assert resumed.last_resume.record.moment.epoch == 1
    assert ledgers(resumed)[-1] == kept[-1]
    assert resumed.state_digest() == complete[2]


# --- checkpoints of other runs, and names that are taken -----------------------------------------------


def ids(directory: Path) -> dict[str, str]:
    return {each.path: each.record.id for each in holdfast.scan(directory)}


def test_checkpoints_of_another_run_stay_through_a_run_and_its_resumes(tmp_path):
    run(
        "plain", Saving(str(tmp_path), training={"save_on": "epoch_end"}, experiment={"save_on": "group_end"})
    )
    of_the_other = ids(tmp_path)
    policies = saving(tmp_path, save_on="batch_end", max_to_keep=1)
    crash("plain", policies, 50)
    resume("plain", policies)
    after = ids(tmp_path)
    assert of_the_other.items() <= after.items()
    assert len(of_the_other) == 5


NEVER_OVER = {"training": {"overwrite": False}, "experiment": {"overwrite": False}}


@pytest.mark.medium
@pytest.mark.parametrize("hook", [3, 30, 60, HOOKS - 1])
def test_a_policy_that_must_not_overwrite_lets_its_run_resume(hook, uninterrupted, tmp_path):
    policies = Saving(str(tmp_path), **NEVER_OVER)
    crash("plain", policies, hook)
    resumed = resume("plain", policies)
    assert resumed.state_digest() == uninterrupted("plain").digest
    assert resume("plain", policies).state_digest() == uninterrupted("plain").digest  # complete by now


@pytest.mark.medium
def test_what_this_run_saved_after_the_moment_it_goes_back_to_is_replaced(uninterrupted, tmp_path):
    policies = Saving(str(tmp_path), **NEVER_OVER)
    run("plain", policies)
    before = ids(tmp_path)
    resumed = resume("plain", policies, "second/second_epoch1_batch2")
    assert resumed.state_digest() == uninterrupted("plain").digest
    changed = {path for path, id in ids(tmp_path).items() if before[path] != id}
    later = [each.record for each in holdfast.scan(tmp_path) if each.path in changed]
    assert len(later) == len(before) - list(before).index(resumed.last_resume.path) - 1


@pytest.mark.medium
def test_a_name_that_another_run_has_taken_is_refused_before_any_training(tmp_path):
    policies = Saving(str(tmp_path / "mine"), **NEVER_OVER)
    crash("plain", policies, 20)
    run("plain", Saving(str(tmp_path / "other")))
    taken = "second/second_epoch2_batch4.ckpt.mml"
    shutil.copytree(tmp_path / "other" / taken, tmp_path / "mine" / taken)
    refused = build("plain", policies)
    with pytest.raises(CheckpointExistsError, match="second_epoch2_batch4"):
        refused.run(resume="first/first_epoch0_batch2", progress=False)
    assert places(refused) == []


# --- policies for memory ---------------------------------------------------------------------------------


def test_memory_policies_begin_from_scratch_and_the_run_resumes_from_disk(uninterrupted, tmp_path):
    policies = Saving(str(tmp_path), training={"mode": "memory", "save_on": "epoch_end"})
    crash("plain", policies, 60)
    resumed = resume("plain", policies)
    assert resumed.last_resume.record.name == "second_start"
    assert resumed.state_digest() == uninterrupted("plain").digest
    assert [unit.checkpointing.saved_keys for unit in resumed.units] == [[], [0, 1, 2]]
    last = resumed.units[1].checkpointing.get_state(2)
    assert last["run"]["step"] == 25


@pytest.mark.medium
def test_memory_policies_alone_leave_nothing_to_resume_from(uninterrupted, tmp_path):
    policies = Saving(str(tmp_path), training={"mode": "memory"}, experiment={"save_on": "group_end"})
    crash("plain", policies, 60)
    begun = build("plain", policies)
    begun.run(resume=True, progress=False)
    assert begun.last_resume is None
    assert begun.state_digest() == uninterrupted("plain").digest
    assert len(begun.units[0].checkpointing.saved_keys) == 26


def test_memory_policies_without_a_directory_change_nothing_either(uninterrupted):
    made = build("plain")
    for unit in made.units:
        unit.set_checkpointing(holdfast.Checkpointing(save_on=["batch_end", "epoch_start"], max_to_keep=2))
    made.run(progress=False)
    assert made.state_digest() == uninterrupted("plain").digest
    with pytest.raises(UsageError, match="no directory"):
        build("plain").run(resume=True, progress=False)
