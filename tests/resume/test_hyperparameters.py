"""At a resume the checkpoint's hyperparameters win over the script's, and the user is told which."""

from __future__ import annotations

import shutil
import warnings

import pytest
import torch

from holdfast import Callback
from tests.support.plans import Saving, crash, resume, run

IN_SECOND_PHASE = 60


@pytest.fixture
def crashed(tmp_path):
    crash("plain", Saving(str(tmp_path)), IN_SECOND_PHASE, callbacks=(Callback(),))
    return tmp_path


class From(Callback):
    """Does something with the optimizer and its schedule after the first epoch of the second phase."""

    def __init__(self, change) -> None:
        self.change = change

    def on_epoch_end(self, context) -> None:
        if (context.phase, context.moment.epoch) == ("second", 0):
            self.change(context.graph)


@pytest.mark.medium
def test_the_checkpoints_learning_rate_is_used_and_the_scripts_named(crashed):
    complete = run("plain", callbacks=(Callback(),))
    digest = complete.state_digest()
    with pytest.warns(UserWarning, match=r"lr is 0.02 \(the script says 0.5\).*override=\(\"lr\",\)") as told:
        resumed = resume("plain", Saving(str(crashed)), lr=0.5, callbacks=(Callback(),))
    assert resumed.state_digest() == digest
    (warning,) = told
    assert warning.filename.endswith("plans.py")  # the caller's line


@pytest.mark.medium
def test_the_warning_comes_again_at_the_next_resume_and_not_once_the_script_is_put_back(tmp_path):
    saving = Saving(str(tmp_path))
    crash("plain", saving, 40)
    with pytest.warns(UserWarning, match="lr is 0.02"):
        crash("plain", saving, 20, place=True, lr=0.5)
    with pytest.warns(UserWarning, match="lr is 0.02"):
        crash("plain", saving, 5, place=True, lr=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume("plain", saving)


def set_lr(graph):
    graph.optimizers[0].param_groups[0]["lr"] = 0.5


@pytest.mark.medium
def test_the_scripts_learning_rate_can_be_requested(tmp_path):
    saving = Saving(str(tmp_path))
    run("plain", saving, callbacks=(Callback(),))
    changes = {"lr": 0.5, "callbacks": (Callback(),)}
    resumed = resume("plain", saving, "second/second_epoch0", override="lr", **changes)
    assert resumed.state_digest() == run("plain", callbacks=(From(set_lr),)).state_digest()
    again = resume("plain", saving, "second/second_epoch1", **changes)  # which was saved with the new one
    assert again.state_digest() == resumed.state_digest()


def decay(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)


def scale_lr(graph):
    (group,) = graph.optimizers[0].param_groups
    group["lr"] *= 25.0
    group["initial_lr"] = graph.scheduler.base_lrs[0] = 0.5


@pytest.mark.medium
def test_a_learning_rate_of_the_scripts_is_as_far_along_its_schedule_as_the_old_one_was(tmp_path):
    saving = Saving(str(tmp_path))
    run("plain", saving, scheduler=decay, callbacks=(Callback(),))
    changes = {"lr": 0.5, "scheduler": decay, "callbacks": (Callback(),)}
    resumed = resume("plain", saving, "second/second_epoch0", override="lr", **changes)
    changed = run("plain", scheduler=decay, callbacks=(From(scale_lr),))
    assert resumed.graph.scheduler.get_last_lr() == pytest.approx(changed.graph.scheduler.get_last_lr())
    for new, old in zip(resumed.graph.parameters(), changed.graph.parameters(), strict=True):
        torch.testing.assert_close(new, old)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["one_cycle", "plateau", "accumulated"])
def test_what_a_schedule_has_moved_is_no_change_of_the_scripts(name, tmp_path):
    crash(name, Saving(str(tmp_path)), 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume(name, Saving(str(tmp_path)))


@pytest.mark.medium
def test_other_options_are_compared_and_overridden_too(tmp_path):
    def optimizer(decay):
        return lambda parameters: torch.optim.AdamW(parameters, lr=0.02, weight_decay=decay)

    saving = Saving(str(tmp_path))
    crash("plain", saving, 40, optimizer=optimizer(0.01))
    shutil.copytree(tmp_path, f"{tmp_path}-copy")
    with pytest.warns(UserWarning, match=r"weight_decay is 0.01 \(the script says 0.5\)"):
        resume("plain", saving, optimizer=optimizer(0.5))
    copy = Saving(f"{tmp_path}-copy")
    resumed = resume("plain", copy, override="weight_decay", optimizer=optimizer(0.5))
    assert resumed.graph.optimizers[0].param_groups[0]["weight_decay"] == 0.5
