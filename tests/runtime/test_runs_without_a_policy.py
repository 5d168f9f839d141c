"""`Run(directory, state)`: a loop without a policy saves sensibly, costs little, and is finished when it is."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Resume, Run, errors
from tests.support.verdicts import WITHOUT_VARIABLES


def train(directory, n_epochs=5, *, each=lambda epoch: None, **options) -> tuple[dict, Run, int]:
    """Returns the state, the run, and the epochs trained in this process."""
    state, trained = {"weight": np.zeros(3), "total": 0}, 0
    with Run(directory, state, variables="off", **options) as run:
        for epoch in run.epochs(n_epochs):
            state["weight"] += epoch
            state["total"] += epoch
            trained += 1
            run.log({"val/loss": 1.0 / (epoch + 1)})
            each(epoch)
    return state, run, trained


def test_the_end_is_saved_and_a_finished_script_trains_nothing_more(tmp_path):
    first, _, trained = train(tmp_path)
    assert trained == 5
    newest = holdfast.scan(tmp_path)[-1].record
    assert (newest.moment.hook, newest.metrics) == ("phase_end", {"val/loss": 0.2})
    assert len(holdfast.scan(tmp_path)) <= 3
    names = [each.path for each in holdfast.scan(tmp_path)]
    again, run, trained = train(tmp_path)
    assert trained == 0
    assert again["total"] == first["total"] == 10
    assert again["weight"].tolist() == first["weight"].tolist()
    assert run.last_resume.verdict == WITHOUT_VARIABLES
    assert [each.path for each in holdfast.scan(tmp_path)] == names


def test_a_finished_script_trains_on_when_it_asks_for_more(tmp_path):
    train(tmp_path)
    more, _, trained = train(tmp_path, 8)
    assert trained == 3
    assert more["total"] == sum(range(8))


@pytest.mark.medium
def test_epochs_of_a_few_milliseconds_are_not_slowed(tmp_path):
    """What saves must not scale with the epochs: the first shows the cost, later ones wait for their share."""
    _, run, _ = train(tmp_path, 300, each=lambda epoch: time.sleep(0.002))
    accounting = run.accounting
    assert 2 <= accounting.saves <= 30
    assert holdfast.scan(tmp_path)[-1].record.moment.hook == "phase_end"


def test_a_signal_is_obeyed(tmp_path):
    def leave(epoch):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(errors.Preempted):
        train(tmp_path, each=leave)
    state, run, trained = train(tmp_path)
    assert (trained, state["total"]) == (2, 10)
    assert run.last_resume.verdict == WITHOUT_VARIABLES


def test_the_state_itself_is_saved_with_what_its_owner_puts_into_it(tmp_path):
    state = {"best": None}
    with Run(tmp_path, state) as run:
        for epoch in run.epochs(2):
            state["best"] = epoch
            assert run["best"] == epoch
            run["best"] = epoch + 10
            assert state["best"] == epoch + 10
    with Run(tmp_path, state := {"best": None}):
        assert state == {"best": 11}


def test_a_reserved_name_put_into_the_state_later_is_refused(tmp_path):
    state = {"a": 1}

    def put():
        with Run(tmp_path, state) as run:
            for _ in run.epochs(1):
                state["results"] = [1]

    with pytest.raises(
        errors.UsageError, match="called 'results': the names 'run', 'results', 'random', 'variables' are"
    ):
        put()


# --- how to resume ------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [None, 1, "", " ", b"x", ["x"]])
def test_a_resume_without_meaning_is_refused(tmp_path, resume):
    message = "resume must be True, False, the name or path of a checkpoint, or Resume"
    with pytest.raises(errors.UsageError, match=message):
        Resume(resume)
    with pytest.raises(errors.UsageError, match=message):
        Run(tmp_path, {"a": 1}, resume=resume)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"strict": None}, {"override": 3}, {"override": [1]}, {"override": ""}])
def test_a_way_to_resume_without_meaning_is_refused(options):
    with pytest.raises(errors.UsageError, match=next(iter(options))):
        Resume(**options)


def test_one_more_object_is_an_error_that_says_what_to_write_and_never_called_exact(tmp_path):
    def run(*names, resume=True):
        with Run(tmp_path, {name: np.zeros(2) for name in names}, resume=resume) as run:
            for _ in run.epochs(2 * len(names)):
                pass
        return run.last_resume

    run("a")
    with pytest.raises(
        errors.PlanMismatchError, match=r"'b' is here and was not saved(.|\n)*Resume\(strict=F"
    ):
        run("a", "b")
    report = run("a", "b", resume=Resume(strict=False))
    assert report.verdict == "not exact: 'b' is here and was not saved"
    assert run("a", "b").verdict == "not exact: at an earlier resume, 'b' is here and was not saved"
    assert run("a", resume=Resume(strict=False)).verdict == "not exact: 'b' was saved and is not here now"


def test_an_object_that_does_not_fit_and_stays_is_never_called_exact(tmp_path):
    with Run(tmp_path, {"a": np.zeros(2), "b": np.ones(2)}):
        pass
    with Run(tmp_path, {"a": np.zeros(3), "b": np.zeros(2)}, resume=Resume(strict=False)) as run:
        list(run.epochs(1))
        assert run["b"].tolist() == [1, 1]
    assert run.last_resume.verdict.startswith("not exact: a: ")


def test_an_option_that_no_optimizer_has_is_refused_before_anything_is_changed(tmp_path):
    def optimizer(rate):
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=rate)

    with Run(tmp_path, {"optimizer": optimizer(0.1)}):
        pass
    live = optimizer(0.5)
    with pytest.raises(errors.UsageError, match=r"override='learning_rate' is not an option.*lr"):
        Run(tmp_path, {"optimizer": live}, resume=Resume(override="learning_rate")).__enter__()
    assert live.param_groups[0]["lr"] == 0.5
    with Run(tmp_path, {"optimizer": live}, resume=Resume(override="lr")):
        pass
    assert live.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("metrics", [{"loss": "low"}, {1: 2.0}, 3, {"loss": torch.zeros(2)}])
def test_what_is_logged_are_numbers_by_name(tmp_path, metrics):
    with Run(tmp_path, {"a": 1}) as run:
        with pytest.raises(errors.UsageError, match="metrics must be numbers by name"):
            run.log(metrics)
        run.log({"metrics": 1}, self=2.0, loss=torch.ones(1))
