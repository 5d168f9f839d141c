"""A dataset of a script's own in a phase: other values are refused, and what training changes in it is not another value."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from holdfast.errors import PlanMismatchError
from tests.support.small_runs import At, experiment, on_disk, train


class Counting(TorchDataset):
    def __init__(self, *, other: bool) -> None:
        self.pixels, self.digits = torch.arange(48.0).reshape(12, 4) / 48 + other, [n % 3 for n in range(12)]
        self.calls, self.cache = 0, {}

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index):
        self.calls += 1
        self.cache[self.calls] = index
        return {"pixels": self.pixels[index], "digit": torch.tensor(self.digits[index])}


def made(directory, crash_at=(9, 9), *, other=False, save_on="batch_end"):
    torch.manual_seed(0)
    data = DataLoader(Counting(other=other), batch_size=4)
    phase = train(data=data, batch_size=None, n_epochs=2, checkpointing=on_disk(save_on))
    return experiment(directory, phase, callbacks=[At("batch_end", *crash_at, do=InterruptedError())])


@pytest.mark.parametrize("at", [(0, 1), (1, 0)])
def test_a_phase_resumes_with_the_same_values_only(at, tmp_path):
    for crash in (at, (1, 1)):
        with pytest.raises(InterruptedError):
            made(tmp_path, crash).run(resume=True, progress=False)
    with pytest.raises(PlanMismatchError, match="the values have changed: pixels"):
        made(tmp_path, other=True).run(resume=True, progress=False)
    again = made(tmp_path)
    again.run(resume=True, progress=False)
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"


def test_a_phase_that_is_done_is_told_of_other_values(tmp_path):
    made(tmp_path, save_on="phase_end").run(progress=False)
    again = made(tmp_path, other=True, save_on="phase_end")
    again.run(resume=True, progress=False)
    assert again.last_resume is not None
    assert again.last_resume.verdict.startswith("not exact: train: data: the values have changed: pixels")
