"""A run that an earlier version was killed in resumes exactly: its directory is kept as data, with what it had in it.

`november/run` was left by version 0.1.0 of 28 November 2026, killed by signal 9 in the middle of an epoch and of a
commit; `november/expected.json` holds, from that version, every array of its newest checkpoint and what its
uninterrupted run ended with.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, fingerprint
from tests.support import ROOT

NOVEMBER = ROOT / "tests" / "golden" / "november"
EXPECTED = json.loads((NOVEMBER / "expected.json").read_text())
ROWS = holdfast.Dataset(x=np.arange(96, dtype="float32").reshape(24, 4) / 96)


def objects() -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    totals = {"sum": 0.0, "seen": np.zeros(3)}
    return {"model": model, "optimizer": optimizer, "noise": np.random.default_rng(3), "totals": totals}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NOVEMBER / "run", tmp_path / "run"))


def test_its_checkpoints_are_listed_and_intact(directory):
    listed = holdfast.scan(directory)
    assert [each.record.name for each in listed] == [
        "train_epoch1_batch5",
        "train_epoch1",
        "train_epoch2_batch1",
    ]
    for each in listed:
        with holdfast.open(each) as checkpoint:
            assert checkpoint.verify(deep=True) == []


def test_every_array_of_the_newest_comes_back_to_the_bit(directory):
    with holdfast.open(directory / EXPECTED["newest"]) as checkpoint:
        found = {
            path: [str(array.dtype), list(array.shape), np.ascontiguousarray(array).tobytes().hex()]
            for path, array in ((path, np.asarray(each)) for path, each in checkpoint.load(mmap=True).items())
        }
    assert found == EXPECTED["arrays"]


def test_the_run_resumes_exactly_and_ends_like_the_uninterrupted_one(directory, monkeypatch):
    """On another machine the versions and the processor may differ, which alone makes no verdict here."""
    monkeypatch.setattr(fingerprint, "differences", lambda saved, now: [])
    state = objects()
    policy = Checkpointing(mode="disk", save_on=["batch_end", "epoch_end"], every_n=2, max_to_keep=3)
    with holdfast.Run(directory, state, checkpointing=policy) as run:
        assert run.step == EXPECTED["step"]
        weight = state["model"][0].weight.detach().numpy()
        assert weight.tobytes().hex() == EXPECTED["arrays"]["model/0.weight"][2]
        for _ in run.epochs(4):
            for batch in run.batches(ROWS, batch_size=4, seed=1):
                loss = state["model"](torch.from_numpy(np.asarray(batch["x"]))).square().mean()
                state["optimizer"].zero_grad()
                loss.backward()
                state["optimizer"].step()
                state["totals"]["sum"] += float(state["noise"].normal())
                state["totals"]["seen"] += state["noise"].normal(size=3)
                run.log(noise=float(np.random.default_rng(run.step).normal()))
        assert run.last_resume is not None
        assert run.last_resume.verdict == "exact"
    assert EXPECTED["end"] == {
        "noise": str(state["noise"].bit_generator.state["state"]["state"]),
        "sum": state["totals"]["sum"].hex(),
        "seen": [each.hex() for each in state["totals"]["seen"].tolist()],
        "rows": len(run.results),
    }
