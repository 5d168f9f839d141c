"""`thin_after`: older checkpoints without optimizers, for their models only."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, bundle, state
from holdfast.errors import CheckpointThinnedError
from holdfast.runtime import ExperimentDirectory
from holdfast.runtime._saving.retention import Retention
from holdfast.storage import LocalDisk, MemoryDisk
from holdfast.testing import Crash, CrashingDisk
from tests.policy.test_choices import record
from tests.support.small_loop import policy
from tests.support.small_runs import all_verify, bundles, digest_of, experiment, graph, on_disk
from tests.support.small_runs import train as phase


def loop(directory, n_epochs: int, **options):
    torch.manual_seed(0)
    model = torch.nn.Linear(200, 200)  # 160 kB, and twice that for Adam
    optimizer = torch.optim.Adam(model.parameters())
    kept = []
    with Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=policy(**options)) as run:
        for _ in run.epochs(n_epochs):
            model(torch.ones(2, 200)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            kept.append(model.weight.detach().clone())
    return kept, run


def thinned(directory) -> dict[str, bool]:
    return {each.record.name: "thinned" in each.record.details for each in holdfast.scan(directory)}


def test_older_checkpoints_of_a_loop_give_up_their_optimizers_and_keep_their_models(tmp_path):
    weights, _ = loop(tmp_path, 4, thin_after=2, save_on="epoch_end")
    assert list(thinned(tmp_path).values()) == [True, True, False, False]
    assert all_verify(tmp_path)
    sizes = [sum(file.stat().st_size for file in each.iterdir()) for each in sorted(tmp_path.glob("*.mml"))]
    assert max(sizes[:2]) < min(sizes[2:]) / 2
    model = torch.nn.Linear(200, 200)
    with holdfast.open(tmp_path / "train_epoch0.ckpt.mml") as opened:
        opened.restore({"model": model})
        assert opened.moment.epoch == 0
    assert torch.equal(model.weight, weights[0])


def test_no_run_resumes_from_a_thinned_checkpoint_and_one_that_would_takes_the_newest_complete(tmp_path):
    loop(tmp_path, 4, thin_after=1)
    with (
        pytest.raises(CheckpointThinnedError, match="no run can resume from it"),
        Run(tmp_path, {"model": torch.nn.Linear(200, 200)}, checkpointing=policy(), resume="train_epoch0"),
    ):
        pass
    holdfast.checkpoint.remove(tmp_path / "train_epoch3.ckpt.mml")
    with pytest.raises(holdfast.errors.HoldfastError, match="thinned"):
        loop(tmp_path, 5, thin_after=1)


def test_a_thinned_checkpoint_is_not_forked_nor_replayed(tmp_path):
    from tests.runtime.test_pruning import command

    loop(tmp_path / "run", 2, thin_after=1)
    place = tmp_path / "run" / "train_epoch0.ckpt.mml"
    with pytest.raises(CheckpointThinnedError, match="no run can resume from it"):
        holdfast.fork(place, tmp_path / "fork")
    assert not (tmp_path / "fork").exists()
    assert command("replay", place, "--", "true").exit_code == 6
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_an_experiment_thins_too_and_its_models_can_be_restored(tmp_path):
    made = experiment(tmp_path, phase(n_epochs=4, checkpointing=on_disk(thin_after=2)))
    made.run()
    assert list(thinned(tmp_path).values()) == [True, True, False, False]
    assert all_verify(tmp_path)
    live = graph(seed=5)
    before = {name: value.clone() for name, value in live["body"].model.state_dict().items()}
    with holdfast.open(tmp_path / "train" / "train_epoch1.ckpt.mml") as opened:
        restored = opened.restore({"model_graph": live})
        saved = opened["model_graph/body/0.weight"]
    assert any("optimizer" in path for path in restored.kept)
    assert not torch.equal(live["body"].model.state_dict()["0.weight"], before["0.weight"])
    assert torch.equal(live["body"].model.state_dict()["0.weight"], torch.as_tensor(saved))
    again = experiment(tmp_path, phase(n_epochs=4, checkpointing=on_disk(thin_after=2)))
    with pytest.raises(CheckpointThinnedError):
        again.run(resume="train/train_epoch0")
    again.run(resume=True)
    assert digest_of(again.graph) == digest_of(made.graph)


def test_pinned_checkpoints_and_the_one_that_the_run_resumed_from_stay_complete(tmp_path):
    loop(tmp_path, 2, save_on="epoch_end")
    bundle.pin(LocalDisk(), str(tmp_path / "train_epoch0.ckpt.mml"))
    loop(tmp_path, 4, thin_after=1, save_on="epoch_end")
    assert thinned(tmp_path) == {
        "train_epoch0": False,
        "train_epoch1": False,
        "train_epoch2": True,
        "train_epoch3": False,
    }
    assert bundles(tmp_path) == [f"train_epoch{epoch}" for epoch in range(4)]


def test_a_crash_at_any_step_of_thinning_leaves_the_complete_checkpoint_or_the_thin_one():
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    snapshot = state.capture({"model": model, "optimizer": optimizer})
    seen = set()
    for after in count():
        disk, thinning = MemoryDisk(), Checkpointing(mode="disk", thin_after=1)
        for seq in (1, 2):
            bundle.save(disk, "runs", replace(record(seq), name=f"epoch{seq}"), snapshot, bundle.Sharing())
            thinning.record_disk(seq, f"runs/epoch{seq}.ckpt.mml")
        try:
            with ExperimentDirectory("runs", "a" * 32, disk=CrashingDisk(disk, after)) as directory:
                Retention(directory, thinning).thin()
            ended = True
        except Crash:
            ended = False
        with holdfast.open("runs/epoch1.ckpt.mml", disk=disk) as opened:
            is_thin = bool(opened.record.details.get("thinned"))
            assert not opened.verify(deep=True)
            assert is_thin == bool(state.all_thinned(opened.source.tree))
            assert opened.record.seq == 1
            assert torch.equal(torch.as_tensor(opened["model/weight"]), model.weight.detach())
        seen.add(is_thin)
        if ended:
            break
    assert seen == {False, True}
