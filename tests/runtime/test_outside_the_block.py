"""`Run` outside of its `with` block, and loops inside of loops: refused, for nothing would be resumed or saved."""

from __future__ import annotations

import pytest

import holdfast
from holdfast import Run
from holdfast.errors import UsageError


@pytest.mark.parametrize(
    "use",
    [
        lambda run: run.epochs(2),
        lambda run: run.steps(2),
        lambda run: run.batches([1, 2]),
        lambda run: run.log(loss=1.0),
        lambda run: run.save("x"),
        lambda run: run.state_digest(),
        lambda run: run.accounting,
        lambda run: run.rollbacks,
    ],
)
def test_before_the_block_it_is_refused_and_nothing_is_made(use, tmp_path):
    run = Run(tmp_path / "a", {"n": 0})
    with pytest.raises(UsageError, match=r"before the `with` block.*`with Run\(…\) as run:`"):
        use(run)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "use",
    [
        lambda run: run.epochs(2),
        lambda run: run.steps(2),
        lambda run: run.batches([1, 2]),
        lambda run: run.log(loss=1.0),
        lambda run: run.save("x"),
        lambda run: run.__enter__(),
    ],
)
def test_after_the_block_it_is_refused(use, tmp_path):
    with Run(tmp_path, {"n": 0}) as run:
        for _ in run.epochs(1):
            run.log(loss=1.0)
    before = run.state_digest()  # which is still known, as are results and costs
    with pytest.raises(UsageError, match=r"after the `with` block|entered already"):
        use(run)
    assert run.state_digest() == before
    assert run.accounting.saves
    assert len(run.results) == 1


def test_two_runs_may_be_made_before_either_begins(tmp_path):
    first, second = Run(tmp_path, {"n": 0}), Run(tmp_path, {"n": 0})
    with first, pytest.raises(holdfast.errors.RunActiveError):
        second.__enter__()


@pytest.mark.parametrize(
    ("outer", "inner", "advice"),
    [
        ("epochs", "steps", r"use run\.batches"),
        ("epochs", "epochs", "in one loop"),
        ("steps", "steps", "in one loop"),
        ("steps", "epochs", r"use run\.epochs\(n\) outside"),
    ],
)
def test_a_loop_inside_of_a_loop_is_refused(outer, inner, advice, tmp_path):
    with Run(tmp_path, {"n": 0}) as run:
        next(loop := getattr(run, outer)(3))
        with pytest.raises(UsageError, match=advice):
            getattr(run, inner)(2)
        loop.close()


def test_two_loops_made_first_and_gone_through_together_are_refused(tmp_path):
    with Run(tmp_path, {"n": 0}) as run:
        both = zip(run.epochs(2), run.epochs(2), strict=True)
        with pytest.raises(UsageError, match="in one loop"):
            next(both)


def test_one_loop_after_the_other_is_none(tmp_path):
    seen = []
    with Run(tmp_path, {"n": 0}) as run:
        seen += run.epochs(2)
        seen += run.epochs(4)
        for step in run.steps(2):
            seen.append(step)
            break
    assert seen == [0, 1, 2, 3, 0]


def test_a_run_says_what_it_is(tmp_path):
    run = Run(tmp_path / "a", {"n": 0}, label="fit")
    assert repr(run) == f"<Run of 'fit' in {tmp_path / 'a'}: epoch 0, batch 0, step 0>"


def test_an_object_that_a_run_does_not_have_is_named(tmp_path):
    run = Run(tmp_path / "a", {"n": 0, "m": 1})
    with pytest.raises(UsageError, match="nothing called 'nope'; it has 'n', 'm'"):
        run["nope"]


@pytest.mark.parametrize("number", [-1, 1.5, True, "3"])
def test_a_number_of_epochs_that_is_none(number, tmp_path):
    with Run(tmp_path, {"n": 0}) as run:
        with pytest.raises(UsageError, match="n_epochs must be an integer >= 0, not"):
            run.epochs(number)
        with pytest.raises(UsageError, match="n_steps must be an integer >= 0, not"):
            run.steps(number)
