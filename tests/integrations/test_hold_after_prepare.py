"""Accelerate: whatever is prepared is saved, in whichever order `hold` and `prepare` are called; else it is refused."""

from __future__ import annotations

import pytest

pytest.importorskip("accelerate")

import torch
from accelerate import Accelerator

import holdfast
from holdfast import Run, errors
from holdfast.integrations.accelerate import hold
from holdfast.rng import seed_everything


def small():
    """An accelerator, a model, an optimizer and a loader; nothing is prepared."""
    seed_everything(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = torch.randn(24, 3)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    return Accelerator(cpu=True), model, optimizer, loader


def train(directory, order: str, crash_at: int | None = None) -> Run:
    accelerator, model, optimizer, loader = small()
    if order == "first":
        held = hold(accelerator, directory)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    elif order == "between":
        model, loader = accelerator.prepare(model, loader)
        held = hold(accelerator, directory)
        optimizer = accelerator.prepare(optimizer)
    else:
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        held = hold(accelerator, directory)
    done = 0
    with held as run:
        for _ in run.epochs(3):
            for x, y in run.batches(loader):
                loss = (model(x) - y).square().mean()
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss.detach())
                done += 1
                if done == crash_at:
                    raise RuntimeError("a cable was pulled")
    return run


@pytest.mark.parametrize("order", ["first", "between"])
def test_what_is_prepared_after_hold_is_saved_and_resumes(order, tmp_path):
    uninterrupted = train(tmp_path / "usual", "last")
    with pytest.raises(RuntimeError):
        train(tmp_path / order, order, crash_at=14)
    saved = holdfast.scan(tmp_path / order)[-1]
    with holdfast.open(saved) as checkpoint:
        assert {"model", "optimizer"} <= checkpoint.tree().keys()
    resumed = train(tmp_path / order, order)
    assert resumed.last_resume is not None
    assert resumed.last_resume.verdict == "exact"
    assert resumed.state_digest() == uninterrupted.state_digest()


def test_nothing_can_be_prepared_or_registered_once_the_run_has_begun(tmp_path):
    accelerator, model, optimizer, loader = small()
    held = hold(accelerator, tmp_path)
    accelerator.prepare(model)
    with held:
        for add in (accelerator.prepare, accelerator.prepare_optimizer):
            with pytest.raises(errors.UsageError, match=r"\(Adam\) comes too late: its run has begun"):
                add(optimizer)
        with pytest.raises(errors.UsageError, match=r"register_for_checkpointing\(Linear\)"):
            accelerator.register_for_checkpointing(torch.nn.Linear(1, 1))
    accelerator.prepare(optimizer)  # for another one
    assert "optimizer" in held.parts
    with pytest.raises(errors.UsageError, match="`parts` of hold"):
        accelerator.prepare(loader)


def test_an_accelerator_that_has_prepared_nothing_is_refused(tmp_path):
    accelerator, _, _, loader = small()
    held = hold(accelerator, tmp_path)
    with pytest.raises(errors.UsageError, match="prepared nothing"), held:
        pass
    accelerator.prepare(loader)  # of which the position alone is no state
    with pytest.raises(errors.UsageError, match="prepared nothing"):
        accelerator.save_state()
    assert not holdfast.scan(tmp_path)


def test_a_state_saved_without_a_run_has_what_was_prepared_later(tmp_path):
    accelerator, model, optimizer, _ = small()
    hold(accelerator)
    model, optimizer = accelerator.prepare(model, optimizer)
    before = model[0].weight.detach().clone()
    path = accelerator.save_state(tmp_path / "one")
    torch.nn.init.zeros_(model[0].weight)
    assert accelerator.load_state(path) == path
    assert torch.equal(model[0].weight, before)


def test_a_prepared_loader_in_a_run_without_hold_is_refused_in_words(tmp_path):
    accelerator, model, _, loader = small()
    prepared = accelerator.prepare(loader)
    with Run(tmp_path, {"model": model}) as run:
        next(run.epochs(1))
        with pytest.raises(errors.UsageError, match=r"DataLoaderShard .*hold\(accelerator"):
            next(run.batches(prepared))


def test_a_prepared_model_and_optimizer_are_objects_of_a_run_like_any_other(tmp_path):
    def fit(directory, crash_at=None):
        accelerator, model, optimizer, _ = small()
        model, optimizer = accelerator.prepare(model, optimizer)
        with Run(directory, {"model": model, "optimizer": optimizer}) as run:
            for epoch in run.epochs(4):
                if epoch == crash_at:
                    raise RuntimeError("a cable was pulled")
                accelerator.backward(model(torch.randn(8, 3)).square().mean())
                optimizer.step()
                optimizer.zero_grad()
        return run

    uninterrupted = fit(tmp_path / "a")
    with pytest.raises(RuntimeError):
        fit(tmp_path / "b", crash_at=2)
    resumed = fit(tmp_path / "b")
    assert resumed.last_resume is not None
    assert resumed.last_resume.verdict == "exact"
    assert resumed.state_digest() == uninterrupted.state_digest()
