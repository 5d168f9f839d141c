"""A loop of one's own, stopped anywhere, goes on as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, errors
from holdfast.rng import seed_everything
from tests.support.integrations.own_loop import N_BATCHES, N_EPOCHS, Crash, policy, train


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("uninterrupted"))[0]


def crash_at(batch: int):
    def crash(number: int) -> None:
        if number == batch:
            raise Crash

    return crash


@pytest.mark.medium
@pytest.mark.parametrize("batch", range(1, N_EPOCHS * N_BATCHES))
def test_a_loop_that_crashes_in_any_batch_ends_as_an_uninterrupted_one(batch, uninterrupted, tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, at_batch=crash_at(batch))
    digest, run = train(tmp_path)
    assert run.last_resume is not None
    assert (run.last_resume.verdict, digest) == ("exact", uninterrupted)
    assert len(run.results) == N_EPOCHS * N_BATCHES
    assert run.step == N_EPOCHS * N_BATCHES // 3


@pytest.mark.parametrize("hook", ["epoch_start", "epoch_end", "batch_start", "batch_end"])
def test_every_hook_is_a_place_to_resume_from(hook, uninterrupted, tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, policy(save_on=hook), at_batch=crash_at(2 * N_BATCHES + 3))
    assert train(tmp_path, policy(save_on=hook))[0] == uninterrupted


class Noisy(torch.utils.data.TensorDataset):
    """Augments its rows by draws from torch's global stream, as transforms of images do."""

    def __getitem__(self, index):
        return super().__getitem__(index)[0] + torch.randn(3)


def see(directory, num_workers: int, at_batch=lambda number: None) -> tuple[np.ndarray, Run]:
    seed_everything(0)
    seen = np.zeros(3)
    data = Noisy(torch.randn(10, 3))
    loader = torch.utils.data.DataLoader(data, batch_size=2, shuffle=True, num_workers=num_workers)
    with Run(directory, {"seen": seen}, checkpointing=policy(save_on="batch_end")) as run:
        for epoch in run.epochs(2):
            for batch in run.batches(loader):
                at_batch(5 * epoch + run.batch)
                seen[:] = 0.9 * seen + batch.sum(0).numpy()
    return seen, run


@pytest.mark.medium
def test_what_workers_draw_resumes_and_where_they_are_fewer_the_verdict_says_so(tmp_path):
    wanted, _ = see(tmp_path / "uninterrupted", 2)
    with pytest.raises(Crash):
        see(tmp_path / "crashed", 2, crash_at(8))
    shutil.copytree(tmp_path / "crashed", tmp_path / "fewer")
    seen, run = see(tmp_path / "crashed", 2)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert np.array_equal(seen, wanted)
    _, run = see(tmp_path / "fewer", 1)
    assert run.last_resume is not None
    assert (
        run.last_resume.verdict == "not exact: workers draw random numbers, and their number was 2 and is 1"
    )


@pytest.mark.slow
def test_a_loop_that_is_killed_resumes_in_a_new_process(uninterrupted, tmp_path):
    script = [sys.executable, str(policy.__code__.co_filename), str(tmp_path)]
    for batch in sorted(random.Random(0).sample(range(2, N_EPOCHS * N_BATCHES), 3)):
        killed = subprocess.run([*script, str(batch)], capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == uninterrupted


def test_a_damaged_newest_checkpoint_is_passed_over(uninterrupted, tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, at_batch=crash_at(13))
    newest = holdfast.scan(tmp_path)[-1]
    assert newest.record is not None
    with open(f"{newest.path}/{newest.record.packs[0].name}", "r+b") as pack:
        pack.seek(-40, 2)
        pack.write(b"\xff" * 40)
    digest, run = train(tmp_path)
    assert run.last_resume is not None
    assert digest == uninterrupted
    assert newest.path in run.last_resume.skipped[0]


@pytest.mark.medium
def test_a_finished_loop_trains_nothing_when_run_again_and_more_epochs_continue_it(uninterrupted, tmp_path):
    assert train(tmp_path)[0] == uninterrupted
    saves = {listed.path for listed in holdfast.scan(tmp_path)}
    assert train(tmp_path, at_batch=crash_at(-1))[0] == uninterrupted
    assert {listed.path for listed in holdfast.scan(tmp_path)} == saves
    longer = train(tmp_path, n_epochs=N_EPOCHS + 1)[0]
    assert longer == train(tmp_path / "at once", n_epochs=N_EPOCHS + 1)[0]


def test_only_the_newest_are_kept_also_across_a_restart(tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, at_batch=crash_at(10))
    _, run = train(tmp_path)
    assert run.last_resume is not None
    kept = {listed.record.name for listed in holdfast.scan(tmp_path) if listed.record}
    assert len(kept - {run.last_resume.record.name}) == 3


def test_what_was_saved_manually_is_never_given_up_for_a_newer_one(tmp_path):
    def once(crash: bool) -> None:
        with Run(tmp_path, {"weights": np.zeros(3)}, checkpointing=policy(max_to_keep=1)) as run:
            for epoch in run.epochs(4):
                list(run.batches([1, 2]))
                if crash and epoch == 0:
                    run.save("mine")
                if crash and epoch == 2:
                    raise Crash

    with pytest.raises(Crash):
        once(crash=True)
    once(crash=False)
    records = [listed.record for listed in holdfast.scan(tmp_path) if listed.record]
    assert [(each.moment.hook, each.reason) for each in records if each.name == "mine"] == [
        ("by_hand", "saved on request")
    ]


def test_a_loop_left_by_break_is_not_entered_again(tmp_path):
    def short(directory) -> int:
        weights, trained = np.zeros(3), 0
        with Run(directory, {"weights": weights}, checkpointing=policy(), variables="off") as run:
            for epoch in run.epochs(9):
                trained += 1
                weights += epoch
                if epoch == 2:
                    break
        return trained

    assert short(tmp_path) == 3
    assert short(tmp_path) == 0


def test_steps_without_epochs_and_values_that_are_replaced_resume(tmp_path):
    def walk(directory, stop: int = -1) -> float:
        random.seed(3)
        with Run(directory, {"place": 0.0}, checkpointing=policy(every_n=2)) as run:
            for step in run.steps(10):
                if step == stop:
                    raise Crash
                run["place"] = run["place"] * 0.5 + random.random()
            return run["place"]

    wanted = walk(tmp_path / "uninterrupted")
    with pytest.raises(Crash):
        walk(tmp_path / "crashed", stop=7)
    assert walk(tmp_path / "crashed") == wanted


def test_what_cannot_work_is_refused_early(tmp_path):
    disk = Checkpointing(mode="disk")
    with pytest.raises(errors.UsageError, match="saves to disk"):
        Run(tmp_path, {"x": 1}, checkpointing=Checkpointing(mode="memory"))
    with pytest.raises(errors.UsageError, match="called 'random': the names"):
        Run(tmp_path, {"random": 1}, checkpointing=disk)
    with Run(tmp_path / "a", {"model": torch.nn.Linear(2, 2)}, checkpointing=disk) as run:
        with pytest.raises(errors.UsageError, match="inside `for epoch in"):
            next(run.batches([1]))
        with pytest.raises(errors.UsageError, match="nothing called 'other'"):
            run["other"]
        with pytest.raises(errors.UsageError, match="n_epochs must be an integer"):
            next(run.epochs(-1))
        for _ in run.epochs(1):
            list(run.batches([1, 2]))
    with pytest.raises(errors.PlanMismatchError, match="'model' was saved and is not here now"):
        Run(tmp_path / "a", {"net": torch.nn.Linear(2, 2)}, checkpointing=disk).__enter__()
    with pytest.raises(errors.StateMismatchError, match="model/weight"):
        Run(tmp_path / "a", {"model": torch.nn.Linear(3, 2)}, checkpointing=disk).__enter__()
