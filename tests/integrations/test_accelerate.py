"""What an accelerator saves through Holdfast comes back, the place in the data and the random numbers included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate")

import torch
from accelerate import Accelerator

import holdfast
from holdfast import Checkpointing, Run, errors
from holdfast.errors import PlanMismatchError
from holdfast.integrations.accelerate import hold
from holdfast.integrations.accelerate._hooks import FileHooks
from tests.support.integrations.cases.accelerate_case import prepared, step
from tests.support.integrations.divergence import check_rollback
from tests.support.integrations.pair import run_pair


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
def test_a_saved_state_resumes_in_the_middle_of_an_epoch(save_at, tmp_path):
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


@pytest.mark.medium
def test_a_run_that_diverges_goes_back_and_ends_as_one_that_began_there(tmp_path, monkeypatch):
    policy = {"mode": "disk", "save_on": "batch_end", "every_n": 3, "on_divergence": "rollback"}

    def train(directory, diverges) -> Run:
        accelerator, model, optimizer, scheduler, loader, seen = prepared()
        count = 0
        with hold(accelerator, directory, checkpointing=Checkpointing(**policy)) as run:
            run.ignore("count")
            for _ in run.epochs(4):
                for batch in run.batches(loader):
                    count += 1
                    loss = step(accelerator, model, optimizer, scheduler, batch)
                    run.log(loss=float("nan") if diverges and count == 15 else loss)
                    seen.samples += len(batch[0])
        return run

    check_rollback(train, tmp_path, monkeypatch)


def train_a_run(directory, crash_at: int | None = None, save_at: int | None = None, **options) -> Run:
    accelerator, model, optimizer, scheduler, loader, seen = prepared()
    with hold(accelerator, directory, **options) as run:
        for _ in run.epochs(3):
            for batch in run.batches(loader):
                step(accelerator, model, optimizer, scheduler, batch)
                seen.samples += len(batch[0])
                if seen.samples == save_at:
                    accelerator.save_state()
                if seen.samples == crash_at:
                    raise RuntimeError("a cable was pulled")
        return run


def test_a_run_without_a_policy_saves_by_the_default_one_and_resumes_exactly(tmp_path):
    uninterrupted = train_a_run(tmp_path / "uninterrupted")
    with pytest.raises(RuntimeError):
        train_a_run(tmp_path / "killed", crash_at=84)  # in the third epoch
    resumed = train_a_run(tmp_path / "killed")
    assert resumed.last_resume is not None
    assert resumed.last_resume.verdict == "exact"
    assert resumed.state_digest() == uninterrupted.state_digest()
    assert 1 <= len(holdfast.scan(tmp_path / "killed")) <= 3


def test_a_state_saved_inside_a_run_is_a_checkpoint_to_resume_from(tmp_path):
    uninterrupted = train_a_run(tmp_path / "uninterrupted")
    never = {"checkpointing": Checkpointing(mode="disk", save_on="phase_end")}
    with pytest.raises(RuntimeError):
        train_a_run(tmp_path / "killed", crash_at=56, save_at=52, **never)
    assert [each.record.name for each in holdfast.scan(tmp_path / "killed")] == ["checkpoint_0"]
    resumed = train_a_run(tmp_path / "killed", **never)
    assert resumed.last_resume.record.name == "checkpoint_0"
    assert resumed.state_digest() == uninterrupted.state_digest(), "it was saved at the end of a turn"


def test_states_without_a_path_are_numbered_below_the_directory(tmp_path):
    accelerator, *_ = prepared()
    hold(accelerator, tmp_path)
    paths = [accelerator.save_state() for _ in range(2)]
    assert paths == [f"{tmp_path}/checkpoint_{number}.ckpt.mml" for number in range(2)]
    assert accelerator.load_state() == paths[1]


def test_the_directory_of_the_project_is_the_default(tmp_path):
    accelerator = Accelerator(cpu=True, project_dir=str(tmp_path))
    model = accelerator.prepare(torch.nn.Linear(2, 1))
    hold(accelerator)
    assert accelerator.save_state() == f"{tmp_path}/checkpoint_0.ckpt.mml"
    assert model.weight is not None


def test_a_run_needs_a_directory_and_says_so(tmp_path):
    accelerator, *_ = prepared()
    with pytest.raises(errors.UsageError, match="needs a directory"), hold(accelerator):
        pass
    with pytest.raises(errors.UsageError, match="needs a directory"):
        hold(accelerator, resume=False)
    with pytest.raises(errors.UsageError, match="a prepared loader has a position"):
        hold(accelerator, tmp_path, allow_reread=True)
    held = hold(accelerator, tmp_path, checkpointing=Checkpointing(mode="disk", save_on="phase_end"))
    with held, pytest.raises(errors.UsageError, match="resumes by itself"):
        accelerator.load_state()
    with pytest.raises(errors.PlanMismatchError, match="is of a run"):
        accelerator.load_state()


@pytest.mark.slow
def test_what_several_processes_cannot_do_is_refused_at_once_in_each(tmp_path):
    for status, printed in run_pair("several_processes.py", cwd=tmp_path):
        assert status == 0
        assert "goes back in one process" in printed  # a Trainer, which would otherwise go on with several
        assert "this holds an accelerator of one process" in printed
    assert not holdfast.scan(tmp_path)


@pytest.mark.parametrize("spoils", [False, True])
def test_a_loaded_state_has_a_verdict_once_its_loader_begins(spoils, tmp_path):
    train_two_epochs(tmp_path, save_at=3)
    accelerator, model, _, _, loader, _ = prepared()
    held = hold(accelerator)
    assert held.last_resume is None
    accelerator.load_state(tmp_path)
    assert held.last_resume is not None
    assert held.last_resume.verdict == "not compared yet"
    if spoils:
        torch.nn.init.zeros_(model[0].weight)
    next(iter(loader))
    named = "not exact: 'model' is not as it was saved: model/0.weight changed before the first step"
    assert held.last_resume.verdict == (named if spoils else "exact")


def test_other_data_after_load_state_are_named(tmp_path):
    train_two_epochs(tmp_path, save_at=3)
    accelerator, *_, loader, _ = prepared()
    vars(loader)["base_dataloader"].dataset.tensors[0].add_(1)
    held = hold(accelerator)
    accelerator.load_state(tmp_path)
    next(iter(loader))
    assert held.last_resume is not None
    said = "not exact: the data's values have changed"
    assert held.last_resume.verdict == said

    held.save_state(tmp_path / "again")  # of a state to which those data have led
    accelerator.load_state(tmp_path / "again")
    next(iter(loader))
    assert held.last_resume.verdict == said.replace("not exact: ", "not exact: at an earlier resume, ")


def test_what_hooks_write_beside_a_state_comes_back(tmp_path):
    average = {"decay": torch.zeros(2)}

    def save(models, weights, folder):
        (Path(folder) / "ema").mkdir()
        torch.save(average, Path(folder) / "ema" / "average.pt")
        (Path(folder) / "empty").touch()
        weights.clear()  # as those do that save models in a way of their own

    def load(models, folder):
        average.update(torch.load(Path(folder) / "ema" / "average.pt"))
        assert (Path(folder) / "empty").read_bytes() == b""
        models.clear()

    for door in ("save", "load"):
        accelerator, *_ = prepared()
        accelerator.register_save_state_pre_hook(save)
        accelerator.register_load_state_pre_hook(load)
        held = hold(accelerator)
        if door == "save":
            average["decay"] += 3
            held.save_state(tmp_path / "one")
            average["decay"] = torch.zeros(2)
        else:
            held.load_state(tmp_path / "one")
    next(iter(accelerator._dataloaders[0]))
    assert held.last_resume is not None
    assert held.last_resume.verdict == "exact"
    assert average["decay"].tolist() == [3, 3]


def test_files_that_no_hook_reads_and_hooks_without_files_are_named(tmp_path):
    accelerator, *_ = prepared()
    handle = accelerator.register_save_state_pre_hook(
        lambda models, weights, folder: (Path(folder) / "one").touch()
    )
    held = hold(accelerator)
    held.save_state(tmp_path / "with")
    handle.remove()
    held.save_state(tmp_path / "without")
    held.load_state(tmp_path / "with")
    next(iter(accelerator._dataloaders[0]))
    assert (
        held.last_resume.verdict
        == "not exact: hooks of register_save_state_pre_hook wrote files, and none reads them now"
    )
    accelerator.register_load_state_pre_hook(lambda models, folder: None)
    held.load_state(tmp_path / "without")
    next(iter(accelerator._dataloaders[0]))
    said = "not exact: the hooks of register_load_state_pre_hook found no files of theirs"
    assert held.last_resume.verdict.startswith(said)


def test_a_file_of_a_hook_stays_in_its_folder(tmp_path):
    accelerator, *_ = prepared()
    accelerator.register_load_state_pre_hook(lambda models, folder: None)
    with pytest.raises(PlanMismatchError, match="outside of its folder"):
        FileHooks(accelerator).load({"../one": np.zeros(1, np.uint8)})


def test_hooks_are_named_where_a_run_saves(tmp_path, caplog):
    accelerator, *_ = prepared()
    accelerator.register_save_state_pre_hook(lambda models, weights, folder: None)
    held = hold(accelerator, tmp_path)
    for _ in range(2):
        with held as run:
            assert list(run.epochs(0)) == []
    assert caplog.text.count("are not called in a run") == 1
