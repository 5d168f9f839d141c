"""A run that goes on from any of its checkpoints ends like one that was never interrupted, to the bit."""

from __future__ import annotations

import shutil
from functools import cache

import pytest

from tests.support.nursery import Kill
from tests.support.plans import PLANS, QUICK, SOMETIMES, Saving, build, listing, place, places, resume, run

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 under torch 2.13


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The plan of a name, run to its end and saved at every hook there is: the digest, the directory, the names."""

    @cache
    def of(name):
        directory = tmp_path_factory.mktemp(name)
        made = run(name, Saving(str(directory)))
        return made.state_digest(), directory, list(made.available_checkpoints)

    return of


def assert_resumed(resumed, complete, checkpoint):
    """It ran the very hooks that were left, and ended the same."""
    assert resumed.last_resume.verdict == "exact", checkpoint
    left = places(resumed)
    assert left == complete.places[len(complete.places) - len(left) :], checkpoint
    at = place(resumed.last_resume.record.moment)
    if at in complete.places:  # no callback hears of groups
        assert len(left) == len(complete.places) - complete.places.index(at) - 1, checkpoint
    assert resumed.state_digest() == complete.digest, checkpoint


def resume_from(name, directory, checkpoints, complete):
    for checkpoint in checkpoints:
        resumed = build(name, Saving(str(directory)), seed=999)
        with resumed.disable_checkpointing():  # so that the next one finds the directory as it was
            resumed.run(resume=checkpoint, progress=False)
        assert_resumed(resumed, complete, checkpoint)


@pytest.mark.medium
@pytest.mark.parametrize("name", QUICK)
def test_saving_at_every_hook_changes_nothing(name, saved, uninterrupted):
    digest, *_ = saved(name)
    assert digest == uninterrupted(name).digest


PARTS = pytest.mark.parametrize("part", ["some", pytest.param("the others", marks=pytest.mark.slow)])


def part_of(checkpoints, part, first, step):
    some = checkpoints[first::step]
    return some if part == "some" else [each for each in checkpoints if each not in some]


@pytest.mark.medium
@PARTS
@pytest.mark.parametrize("name", QUICK)
def test_a_run_resumes_exactly_from_each_of_its_checkpoints(name, part, saved, uninterrupted):
    _, directory, checkpoints = saved(name)
    first = list(QUICK).index(name) % 5  # another fifth for each plan: hooks come round every few
    resume_from(name, directory, part_of(checkpoints, part, first, 5), uninterrupted(name))


@pytest.mark.medium
@PARTS
def test_a_resumed_run_saves_what_the_uninterrupted_one_would_have_saved(
    part, saved, uninterrupted, tmp_path
):
    _, directory, checkpoints = saved("rich")
    first = {"some": 0, "the others": 3}[part]  # a third of them: each leaves a directory to compare
    for checkpoint in checkpoints[first::6]:
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        resumed = resume("rich", Saving(str(copy)), checkpoint)
        assert_resumed(resumed, uninterrupted("rich"), checkpoint)
        assert sorted(listing(copy)) == sorted(listing(directory)), checkpoint
        shutil.rmtree(copy)


@pytest.mark.medium
@pytest.mark.parametrize("name", PLANS)
def test_every_plan_resumes_in_a_new_process_and_leaves_the_files_it_would_have_left(name, nursery, tmp_path):
    """Killed twice, where nothing has been imported, seeded or started yet."""
    uninterrupted = nursery.run(name, tmp_path / "uninterrupted", saving=SOMETIMES)
    assert uninterrupted.digest == nursery.run(name, None).digest, uninterrupted.error
    for part in (0.7, 0.4):
        nursery.run(
            name, tmp_path / "killed", Kill(at_change=int(part * uninterrupted.changes)), saving=SOMETIMES
        )
    outcome = nursery.run(name, tmp_path / "killed", saving=SOMETIMES)
    assert (outcome.digest, outcome.verdict, outcome.error) == (uninterrupted.digest, "exact", None)
    saved, unkilled = listing(tmp_path / "killed"), listing(tmp_path / "uninterrupted")
    assert len(outcome.resumed_from) in (1, 2)
    assert [each for each in saved if each in unkilled] == unkilled
    # What a run has gone on from is not deleted for it.
    assert {name for name, *_ in saved} - {name for name, *_ in unkilled} <= set(outcome.resumed_from)
