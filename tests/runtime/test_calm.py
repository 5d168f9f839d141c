"""Ends of batches that are passed without a look: counted all the same, and nothing that is due there is missed."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext

import numpy as np
import pytest

from holdfast import Checkpointing, Every, Run, Seconds, Write
from holdfast.checkpoint import scan
from holdfast.errors import Preempted
from holdfast.runtime._calm import Calm

FAST = Write(durability="process", background=False)


def calm(policy: Checkpointing, *, is_called=lambda: False, clock=lambda: 0.0) -> Calm:
    made = Calm(policy, is_called, clock)
    made.begin()
    return made


def num_passed(made: Calm, most: int = 100) -> int:
    return next((number for number in range(most) if not made.passes()), most)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_as_many_pass_as_the_policy_counts_between_two_saves(n):
    policy = Checkpointing(save_on="batch_end", every_n=n)
    assert num_passed(calm(policy)) == n - 1
    assert policy.get_counters().get("batch_end", 0) == n - 1
    assert policy.should_save("batch_end")


def test_of_several_conditions_the_first_that_may_be_met_counts():
    policy = Checkpointing(
        when=Every("batch_end", 5) | Every("batch_end", 3) & Seconds(60) | Every("epoch_end")
    )
    assert num_passed(calm(policy)) == 2


def test_it_lasts_for_a_moment_only_since_time_may_ask_for_a_save():
    now = [0.0]
    made = calm(Checkpointing(when=Seconds(1)), clock=lambda: now[0])
    assert num_passed(made, 50) == 50
    now[0] = 0.02
    assert not made.passes()
    now[0] = 0.0
    assert not made.passes(), "it is over until all has been looked at again"


def test_a_request_ends_it_at_once():
    called = [False]
    made = calm(Checkpointing(save_on="epoch_end"), is_called=lambda: called[0])
    assert made.passes()
    called[0] = True
    assert not made.passes()


@pytest.mark.parametrize("n", [1, 3, 10])
def test_a_run_of_quick_steps_saves_at_the_very_steps_that_its_policy_counts(n, tmp_path):
    state = {"x": np.zeros(3)}
    policy = Checkpointing(save_on="batch_end", every_n=n, name_template="at {batch}", write=FAST)
    with Run(tmp_path, state, checkpointing=policy, variables="off") as run:
        for step in run.steps(31):
            state["x"] += step
    assert sorted(each.record.moment.step for each in scan(tmp_path)) == list(range(n, 32, n))


@pytest.mark.parametrize("way", ["request", "signal", "save"])
def test_what_is_requested_between_quick_steps_is_done_at_the_end_of_that_step(way, tmp_path):
    state = {"x": np.zeros(3)}
    policy = Checkpointing(
        save_on="batch_end",
        every_n=1000,
        name_template="at {batch}",
        save_on_preemption="SIGUSR1",
        write=FAST,
    )
    steps = []
    run = Run(tmp_path, state, checkpointing=policy, variables="off")
    with pytest.raises(Preempted) if way == "signal" else nullcontext(), run:
        for step in run.steps(40):
            steps.append(step)
            if step == 25:
                if way == "request":
                    policy.request()
                elif way == "signal":
                    os.kill(os.getpid(), signal.SIGUSR1)
                else:
                    run.save("mine")
    (saved,) = scan(tmp_path)
    assert (saved.record.name, saved.record.moment.step) == ("mine", 25) if way == "save" else ("at 25", 26)
    assert steps[-1] == (25 if way == "signal" else 39)
