"""A directory belongs to one live run at a time, unless both are told to share it."""

from __future__ import annotations

import os

import pytest

import holdfast
from holdfast import Callback
from holdfast.errors import RunActiveError
from tests.support.nursery import Kill
from tests.support.plans import Saving, build, crash, resume, run


class Meanwhile(Callback):
    """Has something done while the run is in the middle of its second phase."""

    def __init__(self, act) -> None:
        self.act = act

    def on_batch_start(self, context) -> None:
        if (context.phase, context.moment.epoch, context.moment.batch) == ("second", 1, 3):
            self.act()


@pytest.mark.medium
def test_a_second_process_is_told_who_runs_there(nursery, tmp_path):
    told = []
    run(
        "plain",
        Saving(str(tmp_path)),
        callbacks=(Meanwhile(lambda: told.append(nursery.run("plain", tmp_path))),),
    )
    (outcome,) = told
    assert outcome.error.startswith(
        f"RunActiveError: {tmp_path}: process {os.getpid()} on {os.uname().nodename}"
    )
    assert "share_directory=True" in outcome.error


@pytest.mark.medium
def test_two_processes_that_share_a_directory_both_end_as_if_alone(nursery, uninterrupted, tmp_path):
    outcomes = []

    def second_process():
        outcomes.append(nursery.run("plain", tmp_path, resume=False, share_directory=True))

    first = run("plain", Saving(str(tmp_path)), callbacks=(Meanwhile(second_process),))
    alone = run("plain", callbacks=(Callback(),))
    assert outcomes[0].error is None
    assert first.results["second"]["ce"].tolist() == alone.results["second"]["ce"].tolist()
    assert [unit.checkpointing.saved_keys for unit in first.units]
    for listed in holdfast.scan(tmp_path):
        assert holdfast.open(listed).verify(deep=True) == []


@pytest.mark.medium
def test_a_run_in_the_same_process_is_refused_too(tmp_path):
    def second_run():
        with pytest.raises(RunActiveError) as refusal:
            build("plain", Saving(str(tmp_path))).run(resume=True, progress=False)
        assert refusal.value.pid == os.getpid()

    run("plain", Saving(str(tmp_path)), callbacks=(Meanwhile(second_run),))


@pytest.mark.medium
def test_a_run_that_was_killed_or_failed_holds_nothing(nursery, uninterrupted, tmp_path):
    assert nursery.run("plain", tmp_path, Kill(at_change=100)).was_killed
    crash("plain", Saving(str(tmp_path)), 5, place=True)
    resumed = resume("plain", Saving(str(tmp_path)))
    assert resumed.state_digest() == uninterrupted("plain").digest
