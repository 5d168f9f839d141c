"""A run that goes on from any of its checkpoints ends like one that was never interrupted, to the bit."""

from __future__ import annotations

import shutil
from functools import cache

import pytest
from plans import PLANS, QUICK, Saving, build, listing, place, places, resume, run

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


def assert_went_on(resumed, whole, checkpoint):
    """It ran the very hooks that were left, and ended the same."""
    assert resumed.last_resume.verdict == "exact", checkpoint
    left = places(resumed)
    assert left == whole.places[len(whole.places) - len(left) :], checkpoint
    at = place(resumed.last_resume.record.moment)
    if at in whole.places:  # no callback hears of groups
        assert len(left) == len(whole.places) - whole.places.index(at) - 1, checkpoint
    assert resumed.state_digest() == whole.digest, checkpoint


@pytest.mark.parametrize("name", PLANS)
def test_saving_at_every_hook_changes_nothing(name, saved, uninterrupted):
    digest, *_ = saved(name)
    assert digest == uninterrupted(name).digest


@pytest.mark.parametrize("name", QUICK)
def test_a_run_goes_on_exactly_from_each_of_its_checkpoints(name, saved, uninterrupted):
    _, directory, checkpoints = saved(name)
    for checkpoint in checkpoints:
        resumed = build(name, Saving(str(directory)), seed=999)
        with resumed.disable_checkpointing():  # so that the next one finds the directory as it was
            resumed.run(resume=checkpoint, progress=False)
        assert_went_on(resumed, uninterrupted(name), checkpoint)


def test_a_resumed_run_saves_what_the_uninterrupted_one_would_have_saved(saved, uninterrupted, tmp_path):
    _, directory, checkpoints = saved("rich")
    for checkpoint in checkpoints:
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        resumed = resume("rich", Saving(str(copy)), checkpoint)
        assert_went_on(resumed, uninterrupted("rich"), checkpoint)
        assert sorted(listing(copy)) == sorted(listing(directory)), checkpoint
        shutil.rmtree(copy)


def test_a_run_with_loading_workers_goes_on_in_the_middle_of_an_epoch(saved, uninterrupted, nursery):
    """In processes of their own: workers that are forked beside those of earlier runs wait for them."""
    _, directory, checkpoints = saved("workers")
    chosen = [each for each in checkpoints if each.endswith(("epoch0_batch1", "epoch1_batch2_start", "_end"))]
    assert len(chosen) == 6
    alone = nursery.run("workers", directory / "alone")
    for checkpoint in chosen:
        outcome = nursery.run("workers", directory, resume=checkpoint)
        assert (outcome.digest, outcome.verdict) == (alone.digest, "exact"), checkpoint
