"""`holdfast prune`, `pin` and `unpin`, and the same in Python: a plan first, then what it said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

import holdfast
from holdfast import KeepBest, KeepLast
from holdfast.cli import app
from holdfast.errors import UsageError
from holdfast.runtime import ExperimentDirectory
from tests.support import small_runs
from tests.support.small_loop import epochs_kept, train
from tests.support.small_runs import all_verify

LOSSES = [5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 7.0]


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def runs(tmp_path):
    train(tmp_path, LOSSES, save_on="epoch_end")
    return tmp_path


def test_a_plan_changes_nothing_and_says_why(runs):
    verdicts = holdfast.plan(runs, KeepLast(1) | KeepBest(2, "val_loss"))
    assert [verdict.record.moment.epoch for verdict in verdicts if verdict.stays] == [1, 3, 6]
    assert [verdict.why for verdict in verdicts][:2] == [
        "nothing asks for it",
        "one of the 2 best: val_loss 1",
    ]
    shown = command("prune", runs, "--keep-last", 1, "--keep-best", 2, "--monitor", "val_loss")
    assert shown.exit_code == 0
    assert "one of the 2 best: val_loss 1" in shown.stdout
    assert "3 checkpoints stay, 4 would go" in shown.stdout
    assert "1 checkpoint stays, 6 would go" in command("prune", runs, "--keep-last", 1).stdout
    assert epochs_kept(runs) == list(range(7))


def test_what_the_plan_says_goes_when_it_is_applied(runs):
    options = ["--keep-best", 2, "--monitor", "val_loss", "--json"]
    planned = [json.loads(line) for line in command("prune", runs, *options, "--plan").stdout.splitlines()]
    done = command("prune", runs, *options, "--apply")
    assert done.exit_code == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == planned
    assert epochs_kept(runs) == [1, 3, 6]
    assert all_verify(runs)


def test_pinned_ones_those_saved_manually_and_those_of_other_runs_stay(runs):
    train(runs, LOSSES, resume=False, name_template="again{epoch}", save_on="epoch_end")
    with holdfast.Run(
        runs,
        {"place": 0},
        checkpointing=holdfast.Checkpointing(mode="disk", save_on="batch_end"),
        resume=False,
    ):
        pass
    assert command("pin", runs / "again2").exit_code == 0
    whys = {
        verdict.record.name: verdict.why for verdict in holdfast.prune(runs, KeepLast(1)) if verdict.stays
    }
    assert whys.pop("again2") == "it is pinned"
    assert whys.pop("again6") == "the newest"
    assert set(whys.values()) == {"another run saved it"}
    assert len(whys) == 7
    assert command("rm", runs / "again2.ckpt.mml", "--yes").exit_code == 2
    assert "is no longer pinned" in command("unpin", runs / "again2").stdout
    assert command("rm", runs / "again2.ckpt.mml", "--yes").exit_code == 0


def test_while_a_run_is_active_nothing_is_pruned(runs):
    with ExperimentDirectory(runs, "a" * 32):
        assert command("prune", runs, "--keep-last", 1, "--apply").exit_code == 4
        assert command("prune", runs, "--keep-last", 1, "--plan").exit_code == 0
    assert epochs_kept(runs) == list(range(7))


def test_neither_is_a_phase_of_a_run_that_is_active_nor_does_pruning_it_leave_a_trace(tmp_path):
    complete = small_runs.experiment(tmp_path, small_runs.train(checkpointing=small_runs.on_disk()))
    complete.run(progress=False)
    with ExperimentDirectory(tmp_path, "a" * 32):
        assert command("prune", tmp_path / "train", "--keep-last", 1, "--apply").exit_code == 4
    assert command("prune", tmp_path / "train", "--keep-last", 1, "--apply").exit_code == 0
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["train_epoch2.ckpt.mml"]


def test_a_budget_and_an_interval_can_be_given_too(runs):
    assert command("prune", runs, "--keep-every", "3 epochs", "--apply").exit_code == 0
    assert epochs_kept(runs) == [2, 5, 6]
    assert command("prune", runs, "--max-bytes", "1 kB", "--apply").exit_code == 0
    assert epochs_kept(runs) == [6]


def test_without_a_word_of_what_to_keep_nothing_is_done(runs):
    assert command("prune", runs, "--apply").exit_code == 2
    assert command("prune", runs, "--keep-best", 2, "--apply").exit_code == 2
    with pytest.raises(UsageError):
        holdfast.plan(runs, None)
    with pytest.raises(UsageError, match="0 runs"):
        holdfast.plan(runs, KeepLast(1), run="zz")
    assert epochs_kept(runs) == list(range(7))


def test_where_there_is_nothing_prune_says_so_and_makes_nothing(tmp_path):
    assert command("prune", tmp_path, "--keep-last", 1, "--apply").exit_code == 2
    assert list(tmp_path.iterdir()) == []
    assert command("pin", tmp_path / "none").exit_code == 2
