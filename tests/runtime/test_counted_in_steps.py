"""`run.batches(loader, steps=n)` goes around the loader by itself; killed, it ends as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from holdfast import Dataset, Run
from holdfast.errors import UsageError
from tests.support.small_loop import Crash, policy

DATA = TensorDataset(torch.arange(10.0)[:, None])  # 4 batches an epoch


def loader(kind: str):
    if kind == "sampler":
        sampler = DistributedSampler(DATA, num_replicas=1, rank=0, seed=5)
        return DataLoader(DATA, batch_size=3, sampler=sampler)
    if kind == "shuffled":
        return DataLoader(DATA, batch_size=3, shuffle=True)
    if kind == "list":
        return [torch.full((1,), float(each)) for each in range(4)]
    return Dataset(x=DATA.tensors[0].numpy())


def train(directory: Path, steps: int, kind: str = "shuffled", crash_at: int = -1, **options):
    torch.manual_seed(0)
    seen = torch.zeros(steps)
    with Run(
        directory, {"seen": {"list": []}}, checkpointing=policy(**{"save_on": "batch_end", **options})
    ) as run:
        size = {"batch_size": 3} if kind == "dataset" else {}
        for batch in run.batches(loader(kind), steps=steps, **size):
            if run.step == crash_at:
                raise Crash
            x = batch["x"] if isinstance(batch, dict) else batch[0]
            run["seen"]["list"].append((run.epoch, [float(each) for each in x.ravel()]))
    assert len(seen) == steps
    return run


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["shuffled", "sampler", "list", "dataset"])
@pytest.mark.parametrize("crash_at", [3, 4, 6])
def test_one_that_is_killed_ends_as_one_that_is_not(tmp_path, kind, crash_at):
    wanted = train(tmp_path / "uninterrupted", 10, kind)
    assert [epoch for epoch, _ in wanted["seen"]["list"]] == [0] * 4 + [1] * 4 + [2] * 2
    with pytest.raises(Crash):
        train(tmp_path / "killed", 10, kind, crash_at)
    again = train(tmp_path / "killed", 10, kind)
    assert again["seen"] == wanted["seen"]
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == wanted.state_digest()


@pytest.mark.parametrize(
    "saving", [{"save_on": "batch_end"}, {"save_on": "phase_end"}, {"save_on": "epoch_end"}]
)
@pytest.mark.parametrize("first", [2, 4, 7])
def test_more_steps_resume_where_it_had_ended(tmp_path, first, saving):
    wanted = train(tmp_path / "at_once", 10)["seen"]
    assert train(tmp_path / "raised", first, **saving).step == first
    assert train(tmp_path / "raised", first, **saving).step == first
    assert train(tmp_path / "raised", 10, **saving)["seen"] == wanted


def test_the_epochs_have_other_orders_and_the_sampler_is_told(tmp_path):
    seen = train(tmp_path, 8, "sampler")["seen"]["list"]
    orders = [[x for epoch, batch in seen if epoch == each for x in batch] for each in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == [float(each) for each in range(10)]
    assert orders[0] != orders[1]


def test_one_left_by_a_break_stays_left(tmp_path):
    def short() -> int:
        trained = 0
        with Run(tmp_path, {"w": torch.zeros(1)}, checkpointing=policy(save_on="epoch_end")) as run:
            run.ignore("trained")
            for _ in run.batches([1, 2, 3], steps=9):
                trained += 1
                if trained == 5:
                    break
        return trained

    assert short() == 5
    assert short() == 0


def test_epochs_and_steps_hooks_come_as_in_a_loop_over_epochs(tmp_path):
    around = train(tmp_path / "around", 8)
    torch.manual_seed(0)
    with Run(tmp_path / "epochs", {"seen": {"list": []}}, checkpointing=policy(save_on="batch_end")) as run:
        data = loader("shuffled")
        for _ in run.epochs(2):
            for (x,) in run.batches(data):
                run["seen"]["list"].append((run.epoch, x.ravel().tolist()))
    assert run["seen"] == around["seen"]


def test_what_has_no_meaning_is_refused(tmp_path):
    with Run(tmp_path, {"w": torch.zeros(1)}, checkpointing=policy()) as run:
        with pytest.raises(UsageError, match="steps"):
            next(run.batches([1], steps=-1))
        with pytest.raises(UsageError, match="these data give no batches"):
            next(run.batches([], steps=3))
    with Run(tmp_path / "b", {"w": torch.zeros(1)}, checkpointing=policy()) as run:
        for _ in run.epochs(1):
            with pytest.raises(UsageError, match="goes through all epochs by itself"):
                next(run.batches([1], steps=3))


class TestLength:
    """`len()` is how many items are still to come, as progress bars show it."""

    def test_of_each_iterator(self, tmp_path):
        with Run(tmp_path, {"w": torch.zeros(1)}, checkpointing=policy()) as run:
            epochs = run.epochs(5)
            assert len(epochs) == 5
            for _ in epochs:
                assert len(epochs) == 5
                batches = run.batches(loader("shuffled"))
                assert len(batches) == 4
                assert len([*batches]) == 4
                assert len(batches) == 4
        with Run(tmp_path / "steps", {"w": torch.zeros(1)}, checkpointing=policy(save_on="batch_end")) as run:
            assert len(run.steps(7)) == 7 == len([*run.steps(7)])
        with Run(tmp_path / "around", {"w": torch.zeros(1)}, checkpointing=policy()) as run:
            assert len(run.batches([1, 2], steps=9)) == 9
            assert len([*run.batches([1, 2], steps=9)]) == 9

    def test_after_a_resume_it_is_what_is_left(self, tmp_path):
        with pytest.raises(Crash):
            train(tmp_path, 10, crash_at=6)
        with Run(tmp_path, {"seen": {"list": []}}, checkpointing=policy(save_on="batch_end")) as run:
            rest = run.batches(loader("shuffled"), steps=10)
            assert len(rest) == 4
            assert len([*rest]) == 4
            assert len(run.batches(loader("shuffled"), steps=10)) == 0

    def test_it_is_unknown_where_the_data_do_not_say(self, tmp_path):
        class Stream:
            def __iter__(self):
                return iter([1, 2])

        with Run(tmp_path, {"w": torch.zeros(1)}, checkpointing=policy()) as run:
            for _ in run.epochs(1):
                batches = run.batches(Stream())
                with pytest.raises(TypeError, match="do not say"):
                    len(batches)
                assert [*batches] == [1, 2]  # `list` asks for a length, too, and can do without
