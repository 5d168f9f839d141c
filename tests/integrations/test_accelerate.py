"""What an accelerator saves through Holdfast comes back, the place in the data and the random numbers included."""

from __future__ import annotations

import pytest

pytest.importorskip("accelerate")

import torch
from accelerate_case import prepared, step
from divergence import check_rollback
from pair import run_pair

import holdfast
from holdfast import Checkpointing, Run, errors
from holdfast.integrations.accelerate import hold


def damage(path: str) -> None:
    record = holdfast.open(path).record
    with open(f"{path}/{record.packs[0].name}", "r+b") as pack:
        pack.seek(-8, 2)
        pack.write(b"\xff" * 8)


def train_two_epochs(directory, save_at: int | None = None, load: bool = False) -> list[torch.Tensor]:
    accelerator, model, optimizer, scheduler, loader, seen = prepared()
    hold(accelerator)
    if load:
        accelerator.load_state(directory)
    number = seen.samples // 4
    while number < 18:
        for batch in loader:
            step(accelerator, model, optimizer, scheduler, batch)
            number, seen.samples = number + 1, seen.samples + len(batch[0])
            if number == save_at:
                accelerator.save_state(directory / f"batch_{number}")
    return [*model.parameters(), *(state["exp_avg"] for state in optimizer.state.values()), torch.rand(3)]


@pytest.mark.parametrize("save_at", [3, 4, 9, 13])
def test_a_saved_state_goes_on_in_the_middle_of_an_epoch(save_at, tmp_path):
    wanted = train_two_epochs(tmp_path, save_at)
    assert all(map(torch.equal, wanted, train_two_epochs(tmp_path, load=True)))


def test_saving_changes_nothing(tmp_path):
    accelerator, model, optimizer, scheduler, loader, _ = prepared()
    for _ in range(2):
        for batch in loader:
            step(accelerator, model, optimizer, scheduler, batch)
    held = train_two_epochs(tmp_path, 5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), held, strict=False))


def test_the_newest_undamaged_one_is_loaded(tmp_path):
    accelerator, *_ = prepared()
    hold(accelerator)
    first = accelerator.save_state(tmp_path / "first")
    second = accelerator.save_state(tmp_path / "second")
    assert accelerator.load_state(tmp_path) == second
    damage(second)
    assert accelerator.load_state(tmp_path) == first
    damage(first)
    with pytest.raises(errors.DamagedError):
        accelerator.load_state(tmp_path)


def test_what_does_not_fit_is_refused_before_anything_changes(tmp_path):
    accelerator, *_ = prepared()
    hold(accelerator)
    with pytest.raises(errors.CheckpointNotFoundError):
        accelerator.load_state(tmp_path)
    with pytest.raises(errors.UsageError, match="say where"):
        accelerator.save_state()
    accelerator.save_state(tmp_path / "one")
    other, *_ = prepared()
    other.register_for_checkpointing(torch.nn.Linear(2, 2))
    hold(other)
    with pytest.raises(errors.PlanMismatchError):
        other.load_state(tmp_path)


def test_a_run_that_diverges_goes_back_and_ends_as_one_that_began_there(tmp_path, monkeypatch):
    rule = {"mode": "disk", "save_on": "batch_end", "every_n": 3, "on_divergence": "rollback"}

    def train(directory, diverges) -> Run:
        accelerator, model, optimizer, scheduler, loader, seen = prepared()
        held = hold(accelerator)
        count = 0
        with Run(directory, held.parts, checkpointing=Checkpointing(**rule)) as run:
            for _ in run.epochs(4):
                for batch in run.batches(held.batches(loader)):
                    count += 1
                    loss = step(accelerator, model, optimizer, scheduler, batch)
                    run.log(loss=float("nan") if diverges and count == 15 else loss)
                    seen.samples += len(batch[0])
        return run

    check_rollback(train, tmp_path, monkeypatch)


@pytest.mark.slow
def test_what_several_processes_cannot_do_is_refused_at_once_in_each(tmp_path):
    for status, printed in run_pair("several_processes.py", cwd=tmp_path):
        assert status == 0
        assert "goes back in one process" in printed  # a Trainer, which would otherwise go on with several
        assert "this holds an accelerator of one process" in printed
    assert not holdfast.scan(tmp_path)
