"""A run that is complete is left alone, unless its plan now asks for more."""

from __future__ import annotations

import pytest

from tests.support.plans import Saving, batches_trained, listing, places, resume, run

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 under torch 2.13

LAST_EPOCHS_ONLY = {"training": {"save_on": "epoch_end"}, "experiment": {"save_on": "experiment_end"}}


@pytest.mark.medium
@pytest.mark.parametrize("name", ["rich", "groups", "stateful", "stopped_early"])
def test_a_complete_run_is_not_run_again(name, uninterrupted, tmp_path):
    run(name, Saving(str(tmp_path)))
    before = listing(tmp_path)
    again = resume(name, Saving(str(tmp_path)))
    assert again.state_digest() == uninterrupted(name).digest
    assert places(again) == []
    assert listing(tmp_path) == before
    assert again.results.status == "complete"
    assert {phase.status for phase in again.results.values()} <= {"complete", "stopped early"}
    assert len(again.history) == 1


@pytest.mark.medium
@pytest.mark.parametrize("freeze", [(), ("encoder",)])
@pytest.mark.parametrize("policies", [{}, LAST_EPOCHS_ONLY])
def test_more_epochs_than_before_resume_in_the_finished_phase(freeze, policies, tmp_path):
    saving = Saving(str(tmp_path), **policies)
    run("plain", saving, freeze=freeze, epochs=(2, 2))
    longer = resume("plain", saving, freeze=freeze, epochs=(2, 4))
    assert batches_trained(longer) == 2 * 5
    assert longer.state_digest() == run("plain", freeze=freeze, epochs=(2, 4)).state_digest()
    assert longer.results.status == "complete"


@pytest.mark.medium
def test_more_epochs_can_be_requested_again_and_again(tmp_path):
    run("plain", Saving(str(tmp_path)), epochs=(1, 1))
    for epochs in (2, 3):
        longer = resume("plain", Saving(str(tmp_path)), epochs=(1, epochs))
        assert batches_trained(longer) == 5
    assert longer.state_digest() == run("plain", epochs=(1, 3)).state_digest()


def test_a_phase_that_stopped_early_is_not_entered_again(tmp_path):
    first = run("stopping", Saving(str(tmp_path)), n_epochs=9)
    assert first.results["train"].status == "stopped early"
    again = resume("stopping", Saving(str(tmp_path)), n_epochs=99)
    assert places(again) == []
    assert again.results["train"].status == "stopped early"
