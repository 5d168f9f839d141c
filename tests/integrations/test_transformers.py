"""A transformers Trainer that is held ends as one that is not, and as one that was never stopped."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import torch
from transformers import GPT2LMHeadModel, TrainerCallback
from typer.testing import CliRunner

import holdfast
from holdfast import Checkpointing, errors
from holdfast.cli import app
from holdfast.integrations.transformers import hold
from tests.support.integrations.cases.transformers_case import Beats, trainer
from tests.support.integrations.crashing import Crash, beats, counter
from tests.support.integrations.divergence import check_rollback
from tests.support.integrations.pair import check_a_pair_resumes

NUM_STEPS = 39  # 13 updates in each of 3 epochs: 25 batches, two to an update, and one left over


def policy(**options) -> Checkpointing:
    return Checkpointing(**{"mode": "disk", "save_on": ["batch_end", "epoch_end"], "every_n": 3, **options})


def train(directory, crash_at: int | None = None, resume=True, saving=None, **options):
    made = trainer(directory, Beats(beats(crash_at)), **options)
    held = hold(made, checkpointing=saving or policy())
    made.train(resume_from_checkpoint=resume)
    return held, made


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> str:
    return train(tmp_path_factory.mktemp("uninterrupted"))[0].state_digest()


@pytest.mark.medium
def test_saving_changes_nothing(tmp_path):
    stock = trainer(tmp_path / "stock")
    stock.train()
    _, held = train(tmp_path / "held")
    assert all(map(torch.equal, stock.model.parameters(), held.model.parameters()))
    without_times = [
        [
            {name: value for name, value in row.items() if "runtime" not in name and "second" not in name}
            for row in made.state.log_history
        ]
        for made in (stock, held)
    ]
    assert without_times[0] == without_times[1]


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [5, 13, 14, 15, 22, 39])
def test_a_run_that_crashes_ends_as_an_uninterrupted_one(crash_at, uninterrupted, tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, crash_at)
    held, made = train(tmp_path)
    assert held.last_resume is not None
    assert (held.last_resume.verdict, made.state.global_step) == ("exact", NUM_STEPS)
    assert held.state_digest() == uninterrupted


@pytest.mark.medium
@pytest.mark.parametrize("hook", ["phase_start", "epoch_end", "batch_end"])
def test_every_hook_is_a_place_to_resume_from(hook, uninterrupted, tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, 30, saving=policy(save_on=hook, every_n=1))
    held, _ = train(tmp_path, saving=policy(save_on=hook, every_n=1))
    assert held.last_resume is not None
    assert held.state_digest() == uninterrupted


@pytest.mark.medium
@pytest.mark.parametrize(("hook", "crash_at"), [("phase_start", 4), ("batch_end", 5)])
def test_what_is_evaluated_at_the_start_is_evaluated_once(hook, crash_at, tmp_path):
    saving = policy(save_on=hook, every_n=1)
    with pytest.raises(Crash):
        train(tmp_path / "crashed", crash_at, saving=saving, eval_on_start=True)
    held, made = train(tmp_path / "crashed", saving=saving, eval_on_start=True)
    wanted, _ = train(tmp_path / "uninterrupted", saving=saving, eval_on_start=True)
    assert [row["step"] for row in made.state.log_history if "eval_loss" in row] == [0, 13, 26, 39]
    assert held.state_digest() == wanted.state_digest()


@pytest.mark.slow
def test_loaders_with_workers_resume_exactly(tmp_path):
    """What is hidden from the model is drawn in the workers."""
    options = {"dataloader_num_workers": 2}
    wanted = train(tmp_path / "uninterrupted", **options)[0].state_digest()
    with pytest.raises(Crash):
        train(tmp_path / "crashed", 17, **options)
    held, _ = train(tmp_path / "crashed", **options)
    assert held.last_resume is not None
    assert (held.last_resume.verdict, held.state_digest()) == ("exact", wanted)


def test_the_words_of_the_arguments_are_a_policy_too(tmp_path):
    made = trainer(tmp_path, save_strategy="steps", save_steps=5, save_total_limit=2)
    hold(made)
    made.train()
    kept = [listed.record for listed in holdfast.scan(tmp_path) if listed.record]
    *best, _, newest = kept
    assert [each.moment.step for each in kept[-2:]] == [30, 35]
    assert len(best) <= 1  # another than these two, with some versions of torch
    assert all(each.metrics["eval_loss"] < newest.metrics["eval_loss"] for each in best)
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.medium
def test_weights_are_read_by_from_pretrained_after_an_export(tmp_path):
    train(tmp_path / "run")
    newest = holdfast.scan(tmp_path / "run")[-1].path
    folder = tmp_path / "exported"
    folder.mkdir()
    target = str(folder / "model.safetensors")
    done = CliRunner().invoke(app, ["export", newest, target, "--prefix", "transformers/model"])
    assert done.exit_code == 0, done.output
    (folder / "config.json").write_text(json.dumps(holdfast.open(newest)["transformers/config"]))
    again, info = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    saved = holdfast.open(newest)["transformers/model"]
    assert all(torch.equal(saved[name], value) for name, value in again.state_dict().items())


@pytest.mark.medium
def test_a_run_that_was_stopped_early_stays_stopped(tmp_path):
    def stopped() -> tuple:
        return train(tmp_path, learning_rate=0.0, num_train_epochs=9)

    first, made = stopped()
    assert made.state.epoch < 9  # nothing was learned for three epochs
    again, _ = stopped()
    assert again.state_digest() == first.state_digest()


def test_what_cannot_resume_is_refused_early(tmp_path):
    with pytest.raises(errors.UsageError, match="a share of all steps"):
        hold(trainer(tmp_path, save_strategy="steps", save_steps=0.1))
    with pytest.raises(errors.UsageError, match="ignore_data_skip"):
        hold(trainer(tmp_path, ignore_data_skip=True), checkpointing=policy())
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").touch()
    with pytest.raises(errors.UsageError, match="checkpoint of the Trainer's own"):
        train(tmp_path, resume=str(tmp_path / "checkpoint-5"))
    with pytest.raises(errors.CheckpointNotFoundError, match="there is no checkpoint"):
        train(tmp_path, resume="checkpoint-6")
    for nonsense in (0, 3, "", [], b"x"):
        with pytest.raises(errors.UsageError, match="resume must be True, False, the name"):
            train(tmp_path, resume=nonsense)


class NonFinite(TrainerCallback):
    """Weights become NaN after so many updates, once."""

    def __init__(self, at: int | None) -> None:
        self._at, self._count = at, counter()  # which goes back with nothing

    def on_step_end(self, args, state, control, model=None, **more) -> None:
        if self._count() == self._at:
            next(model.parameters()).data.fill_(float("nan"))


def train_non_finite(directory, at: int | None, **options):
    made = trainer(directory, NonFinite(at))
    held = hold(made, checkpointing=policy(**options))
    made.train(resume_from_checkpoint=True)
    return held


@pytest.mark.slow
@pytest.mark.parametrize("at", [17, 39])  # the last of these is found when all is over
def test_a_run_that_diverges_goes_back_and_ends_as_one_that_began_there(at, tmp_path, monkeypatch):
    def train(directory, diverges):
        return train_non_finite(directory, at if diverges else None, on_divergence="rollback")

    check_rollback(train, tmp_path, monkeypatch)


@pytest.mark.medium
def test_a_rollback_is_told_of_once_all_is_as_in_the_checkpoint(tmp_path):
    made, told = trainer(tmp_path, NonFinite(17)), []

    def lower(held) -> None:
        told.append((held.last_resume.record.moment.step, made.state.global_step))
        assert all(each.isfinite().all() for each in made.model.parameters())
        for group in made.optimizer.param_groups:
            group["weight_decay"] = 0.125

    hold(made, checkpointing=policy(on_divergence="rollback"), on_rollback=lower)
    made.train()
    assert len(told) == 1
    assert told[0][0] == told[0][1] > 0
    assert made.optimizer.param_groups[0]["weight_decay"] == 0.125


@pytest.mark.medium
def test_without_a_policy_the_default_one_holds_and_the_best_is_kept_if_it_is_named(tmp_path):
    made = trainer(tmp_path, metric_for_best_model="loss", greater_is_better=False)
    held = hold(made)
    assert held._policy.save_on_preemption
    assert "eval_loss" in str(held._policy.keep)
    made.train()
    records = [each.record for each in holdfast.scan(tmp_path)]
    assert 1 <= len(records) <= 4
    assert records[-1].moment.step == NUM_STEPS
    again = trainer(tmp_path)
    resumed = hold(again)
    again.train()  # which is done: hold() resumes by default
    assert (again.state.global_step, resumed.last_resume.record.id) == (NUM_STEPS, records[-1].id)
    fresh = trainer(tmp_path)
    anew = hold(fresh)
    fresh.train(resume_from_checkpoint=False)
    assert anew.last_resume is None


@pytest.mark.slow
def test_a_run_that_diverges_stops_or_is_warned_of(tmp_path, caplog):
    with pytest.raises(errors.DivergenceError, match="train_epoch1_batch1"):
        train_non_finite(tmp_path / "stop", 17, on_divergence="stop")
    train_non_finite(tmp_path / "warn", 17, on_divergence="warn")
    assert "the run is diverging" in caplog.text


@pytest.mark.slow
def test_two_processes_that_are_killed_or_told_to_leave_resume_as_two_uninterrupted_ones(tmp_path):
    check_a_pair_resumes("transformers_ddp.py", 11, tmp_path)
