"""A run that is not finite any more stops, goes back, or is warned of, as its policy says."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Divergence, Run, Write, errors, rng
from tests.support.small_runs import At, Callback, on_disk, train
from tests.support.small_runs import experiment as make

BATCHES = 4


def policy(**options):
    return Checkpointing(
        mode="disk", **{"save_on": "epoch_end", "write": Write(durability="process"), **options}
    )


def loop(directory, *, bad, epochs=4, loss=True, resume=True, on_rollback=None, after=None, **options):
    """Adds random numbers to a weight; `bad(epoch, batch, visit)` says when it becomes NaN."""
    rng.seed_everything(0)
    weight, visits, drawn = np.zeros(2), {}, []
    with Run(
        directory,
        {"weight": weight},
        checkpointing=policy(**options),
        resume=resume,
        on_rollback=on_rollback,
        variables="off",  # they are what the test has seen
    ) as run:
        for epoch in run.epochs(epochs):
            for batch in run.batches(list(range(BATCHES))):
                at = epoch, batch
                visits[at] = visits.get(at, 0) + 1
                drawn.append((*at, np.random.random()))
                weight += drawn[-1][2]
                if bad(epoch, batch, visits[at]):
                    weight[0] = np.nan
                if loss:
                    run.log(loss=weight.sum())
            if after is not None:
                after(run, epoch)
    return run, weight, drawn


def at(epoch, batch, times=1):
    return lambda e, b, visit: (e, b) == (epoch, batch) and visit <= times


# --- stop and warn ----------------------------------------------------------------------------------


def test_by_default_nothing_is_done(tmp_path):
    _, weight, _ = loop(tmp_path, bad=at(2, 1))
    assert np.isnan(weight[0])


def test_a_loop_stops_at_the_hook_at_which_its_loss_is_not_finite(tmp_path):
    with pytest.raises(errors.DivergenceError, match="loss is nan at batch_end") as stop:
        loop(tmp_path, bad=at(2, 1), on_divergence="stop")
    assert stop.value.newest_finite == f"{tmp_path}/train_epoch1.ckpt.mml"
    assert not stop.value.can_roll_back
    assert {listed.record.name for listed in holdfast.scan(tmp_path)} == {"train_epoch0", "train_epoch1"}


def test_a_loop_stops_once_a_checkpoint_is_not_finite_also_without_any_loss(tmp_path):
    with pytest.raises(
        errors.DivergenceError, match=r"train_epoch1 is not finite: 1 array, weight \(1 NaN\)"
    ):
        loop(tmp_path, bad=at(1, 3), loss=False, on_divergence="stop")


def test_a_loop_whose_last_checkpoint_is_not_finite_does_not_end_well(tmp_path):
    with pytest.raises(errors.DivergenceError, match="train_epoch3"):
        loop(tmp_path, bad=at(3, 3), loss=False, on_divergence="stop")


def test_a_stopped_run_resumes_from_its_newest_finite_checkpoint(tmp_path):
    with pytest.raises(errors.DivergenceError):
        loop(tmp_path, bad=at(1, 3), loss=False, on_divergence="stop")
    run, weight, _ = loop(tmp_path, bad=at(9, 9), loss=False, on_divergence="stop")
    assert run.last_resume.record.name == "train_epoch0"
    assert any("train_epoch1.ckpt.mml: not finite" in each for each in run.last_resume.skipped)
    assert np.isfinite(weight).all()


def test_a_warning_is_given_once_and_the_run_continues(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "holdfast"):
        _, weight, _ = loop(tmp_path, bad=at(2, 1), on_divergence="warn")
    assert np.isnan(weight[0])
    assert sum("diverging: loss is nan" in line for line in caplog.messages) == 1


def test_an_experiment_stops_at_a_loss_that_is_not_finite(tmp_path):
    phase = train(n_epochs=4, checkpointing=on_disk(on_divergence="stop"))
    experiment = make(tmp_path, phase, callbacks=[At("batch_end", 2, 1, do=poison)])
    with pytest.raises(errors.DivergenceError, match="loss is nan") as stop:
        experiment.run(progress=False)
    assert stop.value.newest_finite == f"{tmp_path}/train/train_epoch1.ckpt.mml"
    assert experiment.history[0].status == "failed"


def test_a_phase_that_saves_to_memory_can_stop_too():
    phase = train(n_epochs=4, checkpointing=Checkpointing(on_divergence="stop"))
    with pytest.raises(errors.DivergenceError, match="loss is nan"):
        make(None, phase, callbacks=[At("batch_end", 2, 1, do=poison)]).run(progress=False)


def poison(context):
    with torch.no_grad():
        context.graph["body"].model[0].weight[2, 3] = float("nan")


# --- rollback of a loop -----------------------------------------------------------------------------


@pytest.mark.parametrize("save_on", ["epoch_end", "batch_end", "epoch_start", "batch_start"])
def test_a_loop_goes_back_to_its_newest_finite_checkpoint_and_on_to_the_end(save_on, tmp_path):
    run, weight, drawn = loop(tmp_path, bad=at(2, 1), on_divergence="rollback", save_on=save_on)
    assert np.isfinite(weight).all()
    assert run.rollbacks == 1
    assert not run.diverged
    assert len(run.results) == 4 * BATCHES
    assert np.isfinite(run.results["loss"]).all()
    assert run.results["loss"][-1] == weight.sum()
    assert run.last_resume.verdict.startswith(
        "not exact: rolled back (1), with new random numbers: loss is nan"
    )
    again = [(e, b) for e in (2, 3) for b in range(BATCHES)][1 if save_on.startswith("batch") else 0 :]
    assert [(e, b) for e, b, _ in drawn][-len(again) :] == again


def test_after_a_rollback_other_random_numbers_come(tmp_path):
    _, _, drawn = loop(tmp_path, bad=at(2, 1), on_divergence="rollback")
    first, second = [value for epoch, batch, value in drawn if (epoch, batch) == (2, 0)]
    assert first != second
    again = loop(tmp_path / "again", bad=at(9, 9))[2]
    assert [value for epoch, batch, value in again if (epoch, batch) == (2, 0)] == [first]


def test_a_loop_without_losses_goes_back_when_a_save_is_found_to_be_non_finite(tmp_path):
    run, weight, _ = loop(tmp_path, bad=at(1, 2), loss=False, on_divergence="rollback")
    assert (run.rollbacks, np.isfinite(weight).all()) == (1, True)
    assert all("health" not in listed.record.details for listed in holdfast.scan(tmp_path))


def test_a_non_finite_value_that_shows_only_at_the_end_is_rolled_back_too(tmp_path):
    run, weight, _ = loop(tmp_path, bad=at(3, 3), loss=False, on_divergence="rollback")
    assert (run.rollbacks, np.isfinite(weight).all()) == (1, True)


def test_the_number_of_rollbacks_is_limited_and_each_goes_further_back(tmp_path):
    aims = []
    with pytest.raises(errors.DivergenceError, match="loss is nan") as stop:
        loop(
            tmp_path,
            bad=lambda epoch, batch, visit: epoch == 2,
            on_divergence=Divergence("rollback", max_rollbacks=2),
            save_on="batch_end",
            on_rollback=lambda run: aims.append(run.last_resume.record.name),
        )
    assert aims == ["train_epoch1_batch3", "train_epoch1_batch2"]
    assert not stop.value.can_roll_back


def test_no_rollback_leads_to_a_thinned_checkpoint(tmp_path):
    rng.seed_everything(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    non_finite, aims = [True, True], []
    policies = policy(on_divergence="rollback", thin_after=1)
    with Run(
        tmp_path,
        {"model": model, "optimizer": optimizer},
        checkpointing=policies,
        on_rollback=lambda run: aims.append(run.epoch),
    ) as run:
        for epoch in run.epochs(4):
            for _ in run.batches(list(range(BATCHES))):
                optimizer.zero_grad()
                loss = model(torch.randn(3, 2)).square().mean()
                loss.backward()
                optimizer.step()
                run.log(loss=loss.item())
            if epoch == 2 and non_finite:
                non_finite.pop()
                with torch.no_grad():
                    model.weight[0, 0] = float("nan")
    assert any(listed.record.details.get("thinned") for listed in holdfast.scan(tmp_path))
    assert len(aims) == 2
    assert len(set(aims)) == 1  # the one before is thin: better the same once more
    assert torch.isfinite(model.weight).all()


def test_rollbacks_are_recorded_and_counted_over_a_restart(tmp_path):
    loop(tmp_path, bad=at(1, 1), epochs=3, on_divergence="rollback")
    last = holdfast.scan(tmp_path)[-1].record
    assert last.details["rollbacks"]["count"] == 1
    assert "loss is nan" in last.details["rollbacks"]["why"]
    run, *_ = loop(tmp_path, bad=at(4, 1), epochs=6, on_divergence="rollback")
    assert run.rollbacks == 2


def test_a_callback_may_change_what_is_trained_after_a_rollback(tmp_path):
    def scaled(run):
        run["weight"][:] = 100.0

    _, weight, _ = loop(tmp_path, bad=at(2, 1), on_divergence="rollback", on_rollback=scaled)
    assert (weight > 100).all()


def test_code_after_the_batches_can_see_that_a_rollback_is_due(tmp_path):
    seen = []
    loop(
        tmp_path,
        bad=at(2, 1),
        on_divergence="rollback",
        after=lambda run, epoch: seen.append((epoch, run.diverged)),
    )
    assert seen == [(0, False), (1, False), (2, True), (2, False), (3, False)]


def test_without_a_finite_checkpoint_there_is_nothing_to_go_back_to(tmp_path):
    with pytest.raises(errors.DivergenceError, match="None of its checkpoints is finite"):
        loop(tmp_path, bad=at(0, 1), on_divergence="rollback")


def test_steps_without_epochs_are_rolled_back(tmp_path):
    rng.seed_everything(0)
    weight, visits = np.zeros(2), []
    steps = policy(save_on="batch_end", every_n=3, on_divergence="rollback")
    with Run(tmp_path, {"weight": weight}, checkpointing=steps, variables="off") as run:
        for step in run.steps(10):
            visits.append(step)
            weight += 1
            if step == 7 and visits.count(7) == 1:
                weight[0] = np.inf
            run.log(loss=weight[0])
    assert visits == [*range(8), 6, 7, 8, 9]
    assert weight.tolist() == [10, 10]


def test_a_torch_loop_with_a_half_done_accumulation_goes_back(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(torch.randn(16, 3), batch_size=2, shuffle=True)
    spoiled = []
    saving = policy(save_on="batch_end", on_divergence="rollback")
    with Run(tmp_path, {"model": model, "optimizer": optimizer}, checkpointing=saving) as run:
        for epoch in run.epochs(2):
            for batch in run.batches(loader):
                loss = model(batch).square().mean()
                loss.backward()
                if (epoch, run.batch) == (1, 4) and not spoiled:
                    spoiled.append(True)
                    model.weight.grad[0, 0] = float("nan")
                if run.batch % 3 == 2:
                    optimizer.step()
                    optimizer.zero_grad()
                run.log(loss=loss.detach())
    assert run.rollbacks == 2  # the newest that was finite held the bad gradient, waiting for its update
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert len(run.results) == 16
    assert run.step == 4


# --- rollback of an experiment ----------------------------------------------------------------------


class Lower(Callback):
    def __init__(self):
        self.calls = []

    def on_rollback(self, context):
        self.calls.append((context.moment.hook, context.moment.epoch))
        for optimizer in context.graph.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= 0.1


@pytest.mark.parametrize("hook", ["batch_end", "epoch_end"])
def test_an_experiment_goes_back_within_its_process_and_finishes(hook, tmp_path):
    lower, done = Lower(), []

    def once(context):
        if not done:
            done.append(True)
            poison(context)

    spoil = At("batch_end", 2, 1, do=once)
    phase = train(n_epochs=4, checkpointing=on_disk(hook, on_divergence="rollback"))
    experiment = make(tmp_path, phase, train("second", n_epochs=1), callbacks=[spoil, lower])
    experiment.variables = "off"  # they are what the test has seen
    results = experiment.run(progress=False)
    assert results.status == "complete"
    assert experiment.history[0].status == "complete"
    assert all(torch.isfinite(parameter).all() for parameter in experiment.graph.parameters())
    assert len(results["train"]) == 4
    assert np.isfinite(results["train"]["loss"]).all()
    assert len(lower.calls) == 1
    newest = [each.record for each in holdfast.scan(tmp_path) if each.record][-1]
    assert newest.details["rollbacks"]["count"] == 1
    assert newest.details["resume"]["verdict"].startswith("not exact: rolled back (1)")
    assert experiment.graph.optimizers[0].param_groups[0]["lr"] < 0.01


def test_an_experiment_gives_up_after_its_last_rollback(tmp_path):
    phase = train(
        n_epochs=4, checkpointing=on_disk("batch_end", on_divergence=Divergence("rollback", max_rollbacks=2))
    )
    spoil, lower = At("batch_end", 2, 1, do=poison), Lower()
    experiment = make(tmp_path, phase, callbacks=[spoil, lower])
    with pytest.raises(errors.DivergenceError):
        experiment.run(progress=False)
    assert len(lower.calls) == 2
    assert experiment.history[0].status == "failed"


def test_a_non_finite_last_save_of_an_experiment_is_rolled_back(tmp_path):
    done = []

    def once(context):
        if not done:
            done.append(True)
            poison(context)

    phase = train(n_epochs=2, checkpointing=on_disk(on_divergence="rollback"))
    experiment = make(tmp_path, phase, callbacks=[At("epoch_end", 1, do=once)])
    experiment.run(progress=False)
    assert all(torch.isfinite(parameter).all() for parameter in experiment.graph.parameters())
    assert len(done) == 1


# --- the options ------------------------------------------------------------------------------------


def test_options_that_have_no_meaning_are_refused():
    for options in (
        {"action": "pray"},
        {"action": "stop", "max_rollbacks": 0},
        {"action": "stop", "may_be_infinite": [3]},
    ):
        with pytest.raises(errors.UsageError):
            Divergence(**options)
    with pytest.raises(errors.UsageError, match="needs mode='disk'"):
        Checkpointing(mode="memory", on_divergence="rollback")


def test_the_options_are_part_of_the_config():
    options = {"on_divergence": {"action": "rollback", "max_rollbacks": 5, "may_be_infinite": ["**/mask"]}}
    config = Checkpointing(mode="disk", **options).get_config()
    assert {name: config[name] for name in options} == options
    assert Checkpointing.from_config(config).get_config() == config
