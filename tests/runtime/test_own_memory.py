"""Arrays in a container that are the model's own memory as the script begins, and no longer when they are saved."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import Checkpointing, Run


def train(directory: Path, order: tuple[str, ...], crash_at: int | None = None) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    best = model.state_dict()  # the weights themselves
    objects = {"model": model, "optimizer": optimizer, "kept": {"best": best, "last": best}}
    policy = Checkpointing(save_on="batch_end")
    with Run(directory, {name: objects[name] for name in order}, checkpointing=policy) as run:
        for step in run.steps(12):
            loss = (model(torch.randn(4, 3)) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 3 == 2:
                objects["kept"]["best"] = copy.deepcopy(model.state_dict())
            if step == 8:
                objects["kept"]["last"] = objects["kept"]["best"]
            if step == crash_at:
                raise RuntimeError("a cable was pulled")
    weights = [
        *model.state_dict().values(),
        *objects["kept"]["best"].values(),
        *objects["kept"]["last"].values(),
    ]
    return run, weights


@pytest.mark.medium
@pytest.mark.parametrize("order", [("model", "optimizer", "kept"), ("kept", "model", "optimizer")])
@pytest.mark.parametrize("crashes", [(1, 3), (3, 6), (5, 9)])
def test_they_come_back_as_arrays_of_their_own(order, crashes, tmp_path):
    _, wanted = train(tmp_path / "uninterrupted", order)
    for crash_at in crashes:
        with pytest.raises(RuntimeError, match="a cable"):
            train(tmp_path / "killed", order, crash_at)
    run, weights = train(tmp_path / "killed", order)
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert all(map(torch.equal, wanted, weights))
