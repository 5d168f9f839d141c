"""After a resume a rule counts, keeps, names and deletes as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import holdfast
from holdfast.errors import CheckpointExistsError, UsageError
from tests.support.plans import Saving, build, crash, listing, places, resume, run

HOOKS = 66  # of `plain`


def saving(directory: Path, **training) -> Saving:
    rules = {"save_on": ["batch_end", "epoch_start"], "every_n": 3, "max_to_keep": 4, **training}
    whole = {"save_on": ["phase_start", "phase_end"], "every_n": 1, "max_to_keep": 2}
    return Saving(str(directory), training=rules, experiment=whole)


def ledger_of(rule) -> tuple:
    paths = [str(rule.get_path(key)).rpartition("/")[2] for key in rule.keys_by_age]
    return rule.saved_keys, rule.keys_by_age, rule.get_counters(), paths


def ledgers(experiment) -> list[tuple]:
    return [
        ledger_of(rule)
        for rule in (experiment.checkpointing, *(unit.checkpointing for unit in experiment.units))
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    made = run("plain", saving(directory))
    assert len(places(made)) == HOOKS
    return ledgers(made), listing(directory), made.state_digest()


@pytest.mark.parametrize("first", range(4, HOOKS, 6))
def test_counters_keys_and_files_after_two_resumes_are_those_of_an_uninterrupted_run(first, whole, tmp_path):
    rules = saving(tmp_path)
    crash("plain", rules, first)
    second = crash("plain", rules, 2, place=True)
    resumed = resume("plain", rules)
    assert resumed.state_digest() == whole[2]
    assert ledgers(resumed) == whole[0]
    went_on_from = {each.last_resume.record.name for each in (second, resumed) if each.last_resume}
    saved = listing(tmp_path)
    assert [each for each in saved if each in whole[1]] == whole[1]
    assert {name for name, *_ in saved} - {name for name, *_ in whole[1]} <= went_on_from


def test_after_going_back_by_name_and_another_crash_abandoned_training_is_not_in_the_ledger(whole, tmp_path):
    rules = saving(tmp_path, max_to_keep=None)
    kept = ledgers(run("plain", rules))
    crash("plain", rules, 12, place="second/second_epoch0_batch2")
    resumed = resume("plain", rules)
    assert resumed.last_resume.record.moment.epoch == 1
    assert ledgers(resumed)[-1] == kept[-1]
    assert resumed.state_digest() == whole[2]


# --- checkpoints of other runs, and names that are taken -----------------------------------------------


def ids(directory: Path) -> dict[str, str]:
    return {each.path: each.record.id for each in holdfast.scan(directory)}


def test_checkpoints_of_another_run_stay_through_a_run_and_its_resumes(tmp_path):
    run(
        "plain", Saving(str(tmp_path), training={"save_on": "epoch_end"}, experiment={"save_on": "group_end"})
    )
    of_the_other = ids(tmp_path)
    rules = saving(tmp_path, save_on="batch_end", max_to_keep=1)
    crash("plain", rules, 50)
    resume("plain", rules)
    after = ids(tmp_path)
    assert of_the_other.items() <= after.items()
    assert len(of_the_other) == 5


NEVER_OVER = {"training": {"overwrite": False}, "experiment": {"overwrite": False}}


@pytest.mark.parametrize("hook", [3, 30, 60, HOOKS - 1])
def test_a_rule_that_must_not_overwrite_lets_its_run_go_on(hook, uninterrupted, tmp_path):
    rules = Saving(str(tmp_path), **NEVER_OVER)
    crash("plain", rules, hook)
    resumed = resume("plain", rules)
    assert resumed.state_digest() == uninterrupted("plain").digest
    assert resume("plain", rules).state_digest() == uninterrupted("plain").digest  # complete by now


def test_what_this_run_saved_after_the_moment_it_goes_back_to_is_replaced(uninterrupted, tmp_path):
    rules = Saving(str(tmp_path), **NEVER_OVER)
    run("plain", rules)
    before = ids(tmp_path)
    resumed = resume("plain", rules, "second/second_epoch1_batch2")
    assert resumed.state_digest() == uninterrupted("plain").digest
    changed = {path for path, id in ids(tmp_path).items() if before[path] != id}
    later = [each.record for each in holdfast.scan(tmp_path) if each.path in changed]
    assert len(later) == len(before) - list(before).index(resumed.last_resume.path) - 1


def test_a_name_that_another_run_has_taken_is_refused_before_any_training(tmp_path):
    rules = Saving(str(tmp_path / "mine"), **NEVER_OVER)
    crash("plain", rules, 20)
    run("plain", Saving(str(tmp_path / "other")))
    taken = "second/second_epoch2_batch4.ckpt.mml"
    shutil.copytree(tmp_path / "other" / taken, tmp_path / "mine" / taken)
    refused = build("plain", rules)
    with pytest.raises(CheckpointExistsError, match="second_epoch2_batch4"):
        refused.run(resume="first/first_epoch0_batch2", progress=False)
    assert places(refused) == []


# --- rules for memory ---------------------------------------------------------------------------------


def test_memory_rules_begin_anew_and_the_run_goes_on_from_disk(uninterrupted, tmp_path):
    rules = Saving(str(tmp_path), training={"mode": "memory", "save_on": "epoch_end"})
    crash("plain", rules, 60)
    resumed = resume("plain", rules)
    assert resumed.last_resume.record.name == "second_start"
    assert resumed.state_digest() == uninterrupted("plain").digest
    assert [unit.checkpointing.saved_keys for unit in resumed.units] == [[], [0, 1, 2]]
    last = resumed.units[1].checkpointing.get_state(2)
    assert last["run"]["step"] == 25


def test_memory_rules_alone_leave_nothing_to_go_on_from(uninterrupted, tmp_path):
    rules = Saving(str(tmp_path), training={"mode": "memory"}, experiment={"save_on": "group_end"})
    crash("plain", rules, 60)
    begun = build("plain", rules)
    begun.run(resume=True, progress=False)
    assert begun.last_resume is None
    assert begun.state_digest() == uninterrupted("plain").digest
    assert len(begun.units[0].checkpointing.saved_keys) == 26


def test_memory_rules_without_a_directory_change_nothing_either(uninterrupted):
    made = build("plain")
    for unit in made.units:
        unit.set_checkpointing(holdfast.Checkpointing(save_on=["batch_end", "epoch_start"], max_to_keep=2))
    made.run(progress=False)
    assert made.state_digest() == uninterrupted("plain").digest
    with pytest.raises(UsageError, match="no directory"):
        build("plain").run(resume=True, progress=False)
