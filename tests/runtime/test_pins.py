"""A pin: an empty file in the bundle, which nothing removes and no save of its name replaces."""

from __future__ import annotations

import json
import os
from itertools import count

import numpy as np
import pytest

import holdfast
from holdfast import bundle, state
from holdfast.bundle._delete import delete
from holdfast.errors import CheckpointNotFoundError, CheckpointPinnedError
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import Crash, CrashingDisk
from tests.policy.test_choices import record


def save(disk, runs: str, name: str, seq: int, **options) -> str:
    from dataclasses import replace

    draft = replace(record(seq), name=name)
    snapshot = state.capture({"weight": np.full(5, float(seq))})
    bundle.save(disk, runs, draft, snapshot, bundle.Sharing(), **options)
    return bundle.bundle_path(runs, name)


@pytest.fixture(params=["local", "memory"])
def disk(request):
    return LocalDisk() if request.param == "local" else MemoryDisk()


@pytest.fixture
def runs(disk, tmp_path) -> str:
    return str(tmp_path / "runs") if isinstance(disk, LocalDisk) else "runs"


def weight(disk, path: str) -> float:
    with holdfast.open(path, disk=disk) as opened:
        assert not opened.verify(deep=True)
        return float(opened.load()["weight"][0])


def test_a_pinned_checkpoint_is_not_deleted_until_it_is_unpinned(disk, runs):
    path = save(disk, runs, "latest", 1)
    id = bundle.look(disk, path).record.id
    assert bundle.pin(disk, path)
    assert not bundle.pin(disk, path)
    for expected in (id, None):
        with pytest.raises(CheckpointPinnedError):
            delete(disk, path, expected_id=expected)
    assert weight(disk, path) == 1
    assert bundle.unpin(disk, path)
    assert not bundle.unpin(disk, path)
    delete(disk, path, expected_id=id)
    assert bundle.look(disk, path) is None
    assert disk.folders(runs) == []


def test_a_save_under_a_pinned_name_leaves_the_pinned_one_complete_under_a_name_of_its_own(disk, runs):
    path = save(disk, runs, "latest", 1)
    id = bundle.look(disk, path).record.id
    bundle.pin(disk, path)
    save(disk, runs, "latest", 2)
    save(disk, runs, "latest", 3)
    aside = bundle.bundle_path(runs, f"latest.pinned-{id[:12]}")
    assert sorted(disk.folders(runs)) == sorted(os.path.basename(each) for each in (path, aside))
    assert (weight(disk, path), weight(disk, aside)) == (3, 1)
    assert (bundle.is_pinned(disk, path), bundle.is_pinned(disk, aside)) == (False, True)


def test_a_checkpoint_pinned_while_its_name_is_being_saved_is_not_replaced(disk, runs):
    path = save(disk, runs, "latest", 1)

    class Pinning(bundle.Sharing):
        def find(self, piece):
            if bundle.look(disk, path) and not any(".pinned-" in name for name in disk.folders(runs)):
                bundle.pin(disk, path)
            return super().find(piece)

    from dataclasses import replace

    snapshot = state.capture({"weight": np.full(20_000, 2.0)})
    bundle.save(disk, runs, replace(record(2), name="latest"), snapshot, Pinning())
    [aside] = [name for name in disk.folders(runs) if ".pinned-" in name]
    assert weight(disk, f"{runs}/{aside}") == 1
    assert weight(disk, path) == 2


def test_where_there_is_no_checkpoint_there_is_nothing_to_pin(disk, runs):
    with pytest.raises(CheckpointNotFoundError):
        bundle.pin(disk, f"{runs}/none.ckpt.mml")
    with pytest.raises(CheckpointNotFoundError):
        bundle.unpin(disk, f"{runs}/none.ckpt.mml")
    assert not bundle.is_pinned(disk, f"{runs}/none.ckpt.mml")


def test_a_rolling_name_continues_and_a_run_can_resume_from_the_pinned_one(tmp_path):
    from tests.support.small_loop import crash, train

    options = {"name_template": "latest"}
    crash(tmp_path, [1.0] * 6, 3, **options)
    bundle.pin(LocalDisk(), str(tmp_path / "latest.ckpt.mml"))
    train(tmp_path, [1.0] * 6, **options)
    [aside] = tmp_path.glob("latest.pinned-*.ckpt.mml")
    with holdfast.open(aside) as opened:
        assert opened.moment.epoch == 2
    again = train(tmp_path, [1.0] * 6, resume=str(aside), **options)
    with holdfast.open(tmp_path / "latest.ckpt.mml") as opened:
        assert opened.moment.epoch == 5
    assert again.epoch


def test_the_listing_and_the_page_of_a_checkpoint_say_that_it_is_pinned_or_thinned(tmp_path):
    import torch

    from tests.runtime.test_pruning import command
    from tests.support.small_loop import policy

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with holdfast.Run(
        tmp_path, {"model": model, "optimizer": optimizer}, checkpointing=policy(thin_after=1)
    ) as run:
        for _ in run.epochs(3):
            model(torch.ones(2)).sum().backward()
            optimizer.step()
    assert command("pin", tmp_path / "train_epoch0").exit_code == 0
    assert command("pin", tmp_path / "train_epoch2").exit_code == 0
    listed = command("ls", "--wide", tmp_path).stdout.splitlines()
    at = listed[0].index("marks")
    assert [line[at : at + 15].strip() for line in listed[1:4]] == ["pinned, thinned", "thinned", "pinned"]
    rows = [json.loads(line) for line in command("ls", "--json", tmp_path).stdout.splitlines()]
    assert [row["pinned"] for row in rows] == [True, False, True]
    shown = command("show", tmp_path / "train_epoch0").stdout
    assert "pinned       nothing removes it" in shown
    assert "thinned      its optimizers were dropped" in shown
    assert json.loads(command("show", "--json", tmp_path / "train_epoch2").stdout)["pinned"]
    command("unpin", tmp_path / "train_epoch2")
    assert "pinned" not in command("show", tmp_path / "train_epoch2").stdout


def test_a_copy_of_a_pinned_checkpoint_has_no_pin(tmp_path):
    path = save(LocalDisk(), str(tmp_path), "best", 1)
    bundle.pin(LocalDisk(), path)
    copy = holdfast.archive(path, tmp_path / "copy", compress=False)
    assert not bundle.is_pinned(LocalDisk(), copy.path)
    assert json.loads((tmp_path / "best.ckpt.mml" / "checkpoint.json").read_text())["name"] == "best"


def test_a_crash_at_any_step_of_a_save_leaves_the_pinned_checkpoint_complete_and_pinned():
    for after in count():
        disk = MemoryDisk()
        path = save(disk, "runs", "latest", 1)
        bundle.pin(disk, path)
        try:
            save(CrashingDisk(disk, after), "runs", "latest", 2)
        except Crash:
            ended = False
        else:
            ended = True
        pinned = [each.path for each in bundle.scan(disk, "runs") if bundle.is_pinned(disk, each.path)]
        assert [weight(disk, each) for each in pinned] == [1]
        if ended:
            assert weight(disk, path) == 2
            return
