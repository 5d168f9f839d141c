"""When to save by time: pure decisions, checked against simulated runs of every kind."""

from __future__ import annotations

import itertools
from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy import Options, Spent, daly_interval_s, estimate, interval, timed_reason

costs = st.floats(0.001, 5.0)
steps = st.floats(0.01, 20.0)


def simulate(options: Options, steps_s, costs_s) -> list[Spent]:
    """The moments at which a run of such steps saves; each save blocks it for the next of `costs_s`."""
    elapsed_s, last_s, blocked_s, cost_s, saved = 0.0, 0.0, 0.0, None, []
    costs_s = iter(costs_s)
    for step_s in steps_s:
        elapsed_s += step_s
        spent = Spent(elapsed_s=elapsed_s, last_s=last_s, cost_s=cost_s, blocked_s=blocked_s)
        if timed_reason(options, spent):
            saved.append(spent)
            last_s, now_s = elapsed_s, next(costs_s)
            elapsed_s, blocked_s, cost_s = elapsed_s + now_s, blocked_s + now_s, estimate(cost_s, now_s)
    return saved


@given(st.floats(0.1, 60.0), st.lists(steps, min_size=1, max_size=60))
def test_no_more_than_the_interval_and_one_step_is_ever_unsaved(every_seconds, steps_s):
    saved = simulate(Options(every_seconds=every_seconds), steps_s, [0.0] * 60)
    bounds = [0.0, *(spent.elapsed_s for spent in saved), sum(steps_s)]
    gaps = [after - before for before, after in itertools.pairwise(bounds)]
    assert all(gap <= every_seconds + max(steps_s) + 1e-6 for gap in gaps)
    assert all(gap >= every_seconds - 1e-6 for gap in gaps[:-1])


@given(
    st.floats(0.001, 0.5), st.lists(steps, min_size=1, max_size=60), st.lists(costs, min_size=60, max_size=60)
)
def test_the_share_of_blocked_time_stays_under_max_overhead_but_for_what_one_save_surprises(
    share, steps_s, costs_s
):
    saved = simulate(Options(max_overhead=share), steps_s, costs_s)
    assert saved, "the first save comes at once: it shows what one costs"
    assert saved[0].elapsed_s == steps_s[0]
    for spent in saved[1:]:
        assert spent.cost_s is not None
        assert spent.blocked_s + spent.cost_s <= share * spent.elapsed_s + 1e-9


@given(st.floats(0.001, 0.5), costs, st.lists(st.floats(0.01, 0.1), min_size=20, max_size=60))
def test_saves_come_as_often_as_max_overhead_permits(share, cost_s, steps_s):
    saved = simulate(Options(max_overhead=share), steps_s, [cost_s] * 60)
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


def test_of_several_intervals_the_longest_holds_and_says_why():
    options = Options(every_seconds=10, max_overhead=0.01, mtbf_s=3600)
    assert str(interval(options, 0.001)) == "every 10 s: as every_seconds says"
    assert str(interval(options, 0.2)) == (
        "every 37.8 s: the least loss (Young and Daly) for 0.2 s a save and a failure every 3.6e+03 s"
    )
    assert str(interval(options, 1.0)) == "every 100 s: 1 s a save is to be 1 % of the time at most"
    assert interval(Options(), 1.0) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6), costs)
def test_a_save_by_time_never_waits_for_the_one_before(elapsed_s, blocked_s, cost_s):
    spent = Spent(elapsed_s=elapsed_s, cost_s=cost_s, blocked_s=blocked_s, is_busy=True)
    for options in (Options(every_seconds=1e-9), Options(max_overhead=0.99), Options(mtbf_s=1e-9)):
        assert timed_reason(options, spent) is None


@given(st.lists(steps, min_size=10, max_size=40), st.integers(1, 9), st.floats(0.01, 0.5))
def test_a_resumed_run_decides_as_an_uninterrupted_one(steps_s, cut, share):
    whole = simulate(Options(max_overhead=share), steps_s, [0.1] * 60)
    cut = min(cut, len(whole) - 1)
    at = whole[cut]  # what a record says: the facts of this save, and what it cost
    elapsed_s, last_s = at.elapsed_s + 0.1, at.elapsed_s
    blocked_s, cost_s = at.blocked_s + 0.1, estimate(at.cost_s, 0.1)
    left, now_s, later = [], 0.0, []
    for step_s in steps_s:  # those after that save
        now_s += step_s
        left += [step_s] if now_s + 0.1 * (cut + 1) > elapsed_s + 1e-9 else []
    for step_s in left:
        elapsed_s += step_s
        spent = Spent(elapsed_s=elapsed_s, last_s=last_s, cost_s=cost_s, blocked_s=blocked_s)
        if timed_reason(Options(max_overhead=share), spent):
            later.append(elapsed_s)
            last_s, elapsed_s, blocked_s = elapsed_s, elapsed_s + 0.1, blocked_s + 0.1
            cost_s = estimate(cost_s, 0.1)
    assert later == pytest.approx([spent.elapsed_s for spent in whole[cut + 1 :]])


@pytest.mark.parametrize("name", ["every_seconds", "max_overhead", "mtbf_s", "preemption_deadline_s"])
@pytest.mark.parametrize("value", [0, -1, True, inf, "1"])
def test_a_time_that_has_no_meaning_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive number"):
        Options(**{name: value})


def test_max_overhead_is_a_share():
    with pytest.raises(ValueError, match=r"a share of the time, such as 0\.01"):
        Options(max_overhead=1)
