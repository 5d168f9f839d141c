"""`Resume(strict=False)` keeps what fits, the optimizer's state too, and is never called exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from holdfast import Resume, Run
from tests.support.small_runs import on_disk


def go(directory: Path, n_epochs: int, *, grown: bool = False, width: int = 2, strict: bool = True) -> Run:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, width))
    if grown:
        model.append(torch.nn.Linear(width, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    objects = {"model": model, "optimizer": optimizer}
    with Run(directory, objects, checkpointing=on_disk(), resume=Resume(strict=strict)) as run:
        for _ in run.epochs(n_epochs):
            for x in run.batches([torch.ones(4, 2)] * 3):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
    return run


def steps(run: Run) -> list[int]:
    state = run["optimizer"].state
    return [int(state[each]["step"]) for each in run["model"].parameters()]


def test_adam_keeps_its_state_of_what_was_there_when_a_model_has_grown(tmp_path):
    go(tmp_path, 2)
    run = go(tmp_path, 4, grown=True, strict=False)
    assert steps(run) == [12, 12, 12, 12, 6, 6]
    assert run.last_resume is not None
    assert run.last_resume.verdict.startswith("not exact: ")
    named = " ".join(run.last_resume.differences)
    assert "model/2.weight: is not in the saved state" in named
    assert "optimizer: in group 0, 'model/2.weight': is not in the saved state" in named


def test_adam_keeps_its_state_of_what_is_still_there_when_a_model_has_shrunk(tmp_path):
    go(tmp_path, 2, grown=True)
    run = go(tmp_path, 4, strict=False)
    assert steps(run) == [12, 12, 12, 12]
    assert run.last_resume is not None
    assert run.last_resume.verdict.startswith("not exact: ")


def test_adam_starts_from_scratch_for_an_array_of_another_shape(tmp_path):
    go(tmp_path, 2)
    run = go(tmp_path, 4, width=3, strict=False)
    assert steps(run) == [12, 12, 6, 6]
    assert run.last_resume is not None
    assert run.last_resume.verdict.startswith("not exact: ")


@pytest.mark.parametrize("n_epochs", [3])
def test_what_was_saved_after_that_says_so_too(n_epochs, tmp_path):
    go(tmp_path, 2)
    go(tmp_path, n_epochs, grown=True, strict=False)
    again = go(tmp_path, n_epochs + 1, grown=True)
    assert again.last_resume is not None
    assert (
        again.last_resume.verdict
        == "not exact: at an earlier resume, model/2.weight: is not in the saved state"
    )
    assert again.last_resume.record.details["resume"]["verdict"].startswith("not exact: ")
