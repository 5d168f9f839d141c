"""When to save: conditions and their algebra, pure decisions, checked against simulated runs of every kind."""

from __future__ import annotations

import itertools
from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.policy import (
    COME_AGAIN,
    TIMED,
    TRAINING_HOOKS,
    Checkpointing,
    Every,
    MeanTimeBetweenFailures,
    Overhead,
    Preemption,
    Seconds,
    Spent,
    When,
    daly_interval_s,
    estimate,
    interval,
    largest_overhead,
    reason,
)

costs = st.floats(0.001, 5.0)
steps = st.floats(0.01, 20.0)


def simulate(when: When, steps_s, costs_s) -> list[Spent]:
    """The moments at which a run of such steps saves; each save blocks it for the next of `costs_s`."""
    elapsed_s, last_s, blocked_s, cost_s, saved = 0.0, 0.0, 0.0, None, []
    costs_s = iter(costs_s)
    for step_s in steps_s:
        elapsed_s += step_s
        spent = Spent(elapsed_s=elapsed_s, last_s=last_s, cost_s=cost_s, blocked_s=blocked_s)
        if reason(when, "batch_end", 1, spent):
            saved.append(spent)
            last_s, now_s = elapsed_s, next(costs_s)
            elapsed_s, blocked_s, cost_s = elapsed_s + now_s, blocked_s + now_s, estimate(cost_s, now_s)
    return saved


@given(st.floats(0.1, 60.0), st.lists(steps, min_size=1, max_size=60))
def test_no_more_than_the_interval_and_one_step_is_ever_unsaved(every_seconds, steps_s):
    saved = simulate(Seconds(every_seconds), steps_s, [0.0] * 60)
    bounds = [0.0, *(spent.elapsed_s for spent in saved), sum(steps_s)]
    gaps = [after - before for before, after in itertools.pairwise(bounds)]
    assert all(gap <= every_seconds + max(steps_s) + 1e-6 for gap in gaps)
    assert all(gap >= every_seconds - 1e-6 for gap in gaps[:-1])


@given(
    st.floats(0.001, 0.5), st.lists(steps, min_size=1, max_size=60), st.lists(costs, min_size=60, max_size=60)
)
def test_the_share_of_blocked_time_stays_under_overhead_but_for_what_one_save_surprises(
    share, steps_s, costs_s
):
    saved = simulate(Overhead(share), steps_s, costs_s)
    assert saved, "the first save comes at once: it shows what one costs"
    assert saved[0].elapsed_s == steps_s[0]
    for spent in saved[1:]:
        assert spent.cost_s is not None
        assert spent.blocked_s + spent.cost_s <= share * spent.elapsed_s + 1e-9


@given(st.floats(0.001, 0.5), costs, st.lists(st.floats(0.01, 0.1), min_size=20, max_size=60))
def test_saves_come_as_often_as_overhead_permits(share, cost_s, steps_s):
    saved = simulate(Overhead(share), steps_s, [cost_s] * 60)
    if len(saved) > 1:  # the first was on credit, so the second comes after two intervals
        assert saved[1].elapsed_s <= 2 * cost_s / share + cost_s + 2 * max(steps_s) + 1e-6
    for before, after in itertools.pairwise(saved[1:]):
        waited_s = after.elapsed_s - before.elapsed_s
        assert cost_s / share - 1e-6 <= waited_s <= cost_s / share + max(steps_s) + 1e-6


@given(st.floats(0.01, 100.0), st.floats(200.0, 1e6))
def test_the_interval_of_young_and_daly_is_near_the_one_that_loses_least(cost_s, mtbf_s):
    def lost(interval_s: float) -> float:
        """The share of time that is lost, to first order: saving, and half of an interval for each failure."""
        return cost_s / interval_s + interval_s / (2 * mtbf_s)

    best_s = sqrt(2 * cost_s * mtbf_s)
    assert lost(daly_interval_s(cost_s, mtbf_s)) <= 1.5 * lost(best_s)
    assert daly_interval_s(1e-6, mtbf_s) == pytest.approx(sqrt(2e-6 * mtbf_s), rel=0.01)
    assert daly_interval_s(3 * mtbf_s, mtbf_s) == mtbf_s


def test_daly_against_the_figures_of_his_paper():
    # A save of 5 minutes and a failure every 24 hours: Young says 120 minutes, Daly a little less.
    assert 60 * sqrt(2 * 5 * 1440) == 7200
    assert daly_interval_s(300, 86400) == pytest.approx(7001, abs=2)


def test_of_conditions_that_must_all_hold_the_longest_interval_counts_and_says_why():
    when = Seconds(10) & Overhead(0.01) & MeanTimeBetweenFailures(3600)
    assert str(interval(when, 0.001)) == "every 10 s: Seconds(10)"
    assert str(interval(when, 0.2)) == (
        "every 37.8 s: the least loss (Young and Daly) for 0.2 s a save and a failure every 3.6e+03 s"
    )
    assert str(interval(when, 1.0)) == "every 100 s: 1 s a save is to be 1 % of the time at most"
    assert str(interval(Seconds(60) | when, 1.0)) == "every 60 s: Seconds(60)"
    assert interval(Every("epoch_end") & Overhead(0.01), 1.0) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6), costs)
def test_a_save_by_time_never_waits_for_the_one_before(elapsed_s, blocked_s, cost_s):
    spent = Spent(elapsed_s=elapsed_s, cost_s=cost_s, blocked_s=blocked_s, is_busy=True)
    for when in (Seconds(1e-9), Overhead(0.99), MeanTimeBetweenFailures(1e-9)):
        assert reason(when, "batch_end", 1, spent) is None


@given(st.lists(steps, min_size=10, max_size=40), st.integers(1, 9), st.floats(0.01, 0.5))
def test_a_resumed_run_decides_as_an_uninterrupted_one(steps_s, cut, share):
    complete = simulate(Overhead(share), steps_s, [0.1] * 60)
    cut = min(cut, len(complete) - 1)
    at = complete[cut]  # what a record says: the facts of this save, and what it cost
    elapsed_s, last_s = at.elapsed_s + 0.1, at.elapsed_s
    blocked_s, cost_s = at.blocked_s + 0.1, estimate(at.cost_s, 0.1)
    left, now_s, later = [], 0.0, []
    for step_s in steps_s:  # those after that save
        now_s += step_s
        left += [step_s] if now_s + 0.1 * (cut + 1) > elapsed_s + 1e-9 else []
    for step_s in left:
        elapsed_s += step_s
        spent = Spent(elapsed_s=elapsed_s, last_s=last_s, cost_s=cost_s, blocked_s=blocked_s)
        if reason(Overhead(share), "batch_end", 1, spent):
            later.append(elapsed_s)
            last_s, elapsed_s, blocked_s = elapsed_s, elapsed_s + 0.1, blocked_s + 0.1
            cost_s = estimate(cost_s, 0.1)
    assert later == pytest.approx([spent.elapsed_s for spent in complete[cut + 1 :]])


@pytest.mark.parametrize(
    "make", [Seconds, Overhead, MeanTimeBetweenFailures, lambda s: Preemption(deadline_s=s)]
)
@pytest.mark.parametrize("value", [0, -1, True, inf, "1"])
def test_a_time_that_has_no_meaning_is_refused(make, value):
    with pytest.raises(ValueError, match="must be a positive number"):
        make(value)


def test_overhead_is_a_share():
    with pytest.raises(ValueError, match=r"a share of the time, such as 0\.01"):
        Overhead(1)


# The algebra

HOOKS = sorted(TRAINING_HOOKS)
conditions = st.one_of(
    st.builds(Every, st.just("batch_end"), st.integers(1, 6)),
    st.builds(Seconds, st.floats(1.0, 100.0)),
    st.builds(Overhead, st.floats(0.001, 0.5)),
    st.builds(MeanTimeBetweenFailures, st.floats(1.0, 1e5)),
)
algebra = st.recursive(
    conditions,
    lambda inner: st.builds(lambda a, b: a | b, inner, inner) | st.builds(lambda a, b: a & b, inner, inner),
    max_leaves=6,
)
facts = st.builds(
    Spent,
    elapsed_s=st.floats(0, 1000),
    last_s=st.floats(0, 500),
    cost_s=st.none() | costs,
    blocked_s=st.floats(0, 50),
    is_busy=st.booleans(),
)


@given(algebra, algebra, st.sampled_from(HOOKS), st.integers(1, 30), facts)
def test_or_saves_when_either_does_and_in_any_order(one, other, hook, count, spent):
    def met(when):
        return reason(when, hook, count, spent) is not None

    assert met(one | other) == met(other | one) == (met(one) or met(other))


@given(algebra, algebra, st.sampled_from(TIMED), st.integers(1, 30), facts)
def test_and_saves_when_both_would_once_their_hooks_have_come(one, other, hook, count, spent):
    both = reason(one & other, hook, count, spent) is not None
    assert both == (reason(other & one, hook, count, spent) is not None)
    if reason(one, hook, count, spent) and reason(other, hook, count, spent):
        assert both
    if both and hook == "epoch_end":  # none of these hooks: time alone decides, and all of it must agree
        assert reason(one, hook, count, spent)
        assert reason(other, hook, count, spent)


@given(algebra)
def test_what_is_shown_is_what_would_make_it_again(when):
    assert eval(repr(when)) == when


@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(0, 30), st.integers(1, 30))
def test_several_counts_of_one_hook_are_kept_apart_and_survive_a_restart(ns, before, after):
    when = Every("batch_end", ns[0])
    for n in ns[1:]:
        when = when | Every("batch_end", n)
    policy = Checkpointing(when=when)
    for _ in range(before):
        policy.should_save("batch_end")
    resumed = Checkpointing(when=when)
    resumed.set_counters(policy.get_counters())  # {hook: count}, as bundles have always held
    saves = [policy.should_save("batch_end") for _ in range(after)]
    assert saves == [any(c % n == 0 for n in ns) for c in range(before + 1, before + after + 1)]
    assert saves == [resumed.should_save("batch_end") for _ in range(after)]


def test_overhead_in_and_holds_back_only_hooks_that_come_again():
    dear = Spent(elapsed_s=10.0, last_s=0.0, cost_s=5.0, blocked_s=5.0)
    for hook in HOOKS:
        met = reason(Every(hook) & Overhead(0.01), hook, 1, dear)
        assert (met is None) == (hook in COME_AGAIN)
        assert reason(Every(hook), hook, 1, dear) == hook
        assert reason(Every(hook) & Overhead(0.01), hook, 1, None) == f"{hook} and Overhead(0.01)"


def test_the_reason_names_the_condition_that_was_met():
    spent = Spent(elapsed_s=700.0, last_s=0.0, cost_s=0.5)
    when = Every("batch_end", 100) | Every("epoch_end") & Overhead(0.01) | Seconds(600)
    assert reason(when, "batch_end", 200, spent) == "batch_end, every 100th"
    assert reason(when, "epoch_end", 1, spent) == "epoch_end and Overhead(0.01)"
    assert reason(when, "batch_end", 1, spent) == "700 s since the last save (every 600 s: Seconds(600))"
    assert reason(when, "phase_end", 1, spent) is None


def test_time_alone_is_asked_at_ends_of_batches_and_epochs_only():
    late = Spent(elapsed_s=1e6)
    assert {hook for hook in HOOKS if reason(Seconds(1), hook, 1, late)} == {*TIMED}
    assert Checkpointing(when="10 min").save_on == []


def test_time_in_and_is_asked_at_the_hook_that_it_is_joined_to():
    when = Every("epoch_start") & Seconds(600)
    assert reason(when, "epoch_start", 1, Spent(elapsed_s=700.0)) == "epoch_start and Seconds(600)"
    assert reason(when, "epoch_start", 1, Spent(elapsed_s=700.0, last_s=200.0)) is None


def test_hooks_that_never_come_together_are_refused():
    with pytest.raises(UsageError, match="join them by"):
        Every("batch_end") & (Seconds(9) | Every("epoch_end"))
    assert reason(Every("batch_end", 2) & Every("batch_end", 3), "batch_end", 6, None)


def test_the_largest_overhead_is_what_copies_of_steps_may_take_a_half_of():
    assert largest_overhead(Checkpointing.default().when) == 0.01
    assert largest_overhead(Every("epoch_end") | Seconds(9)) is None


@given(st.floats(0.01, 2.0), st.lists(st.floats(5.0, 300.0), min_size=1, max_size=80))
def test_the_default_policy_loses_no_more_than_a_quarter_of_an_hour(cost_s, steps_s):
    saved = simulate(Checkpointing.default().when, steps_s, itertools.repeat(cost_s))
    times = [0.0, *(spent.elapsed_s for spent in saved)]
    assert all(after - before <= 900 + 300 + 1e-6 for before, after in itertools.pairwise(times))
