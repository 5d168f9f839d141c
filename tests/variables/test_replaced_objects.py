"""A variable that names an object of the run as the script begins, and another one later: what is saved of it is not put into the run's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from holdfast import Checkpointing, Run, Write

torch = pytest.importorskip("torch")


class Crash(Exception):
    """Ends a run from within."""


def go(directory: Path, crash: int | None, replaced_at: int) -> tuple[Run, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with Run(directory, {"model": model}, checkpointing=policy) as run:
        for step in run.steps(8):
            if step == crash:
                raise Crash
            with torch.no_grad():
                run["model"].weight += 1
            if step >= replaced_at:
                run["model"] = copy.deepcopy(run["model"])
    return run, run["model"], model


@pytest.mark.parametrize("replaced_at", [0, 3])
def test_the_object_of_the_run_stays_as_it_was_restored(replaced_at, tmp_path):
    _, expected, first = go(tmp_path / "other", None, replaced_at)
    with pytest.raises(Crash):
        go(tmp_path / "runs", 5, replaced_at)
    run, model, named = go(tmp_path / "runs", None, replaced_at)
    assert torch.equal(model.weight, expected.weight)
    assert run.last_resume is not None
    if not torch.equal(named.weight, first.weight):
        said = "the run had another object by then, and has this one as the script begins"
        assert run.last_resume.differences == (f"the variable go: model could not be put back: {said}",)
