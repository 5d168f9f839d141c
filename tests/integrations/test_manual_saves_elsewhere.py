"""What a script saves itself, under `holdfast check` and its like, goes where these send it, and is found there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """The script's working directory, with `runs` in it; the variable sends all it saves to another place."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOLDFAST_DIRECTORY", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def files_below(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


@pytest.mark.parametrize("is_run", [False, True])
def test_checkpoints_of_modularml_that_a_script_saves(is_run, sent):
    pytest.importorskip("modularml")
    from holdfast.integrations import modularml
    from tests.support.integrations import modularml_experiment as small

    modularml.enable("runs/mine")
    try:
        made = small.experiment()
        made.set_checkpoint_dir(Path("runs/mine"))
        if is_run:
            small.run_phase(made, small.train_phase("train", None, n_epochs=1))
        weight = next(made.model_graph.nodes[next(iter(made.model_graph.nodes))].model.model.parameters())
        then = weight.detach().clone()
        made.save_checkpoint("mid")
        for place in ("mid", Path("runs/mine/mid")):
            with torch.no_grad():
                weight.zero_()
            made.restore_checkpoint(place)
            assert torch.equal(weight, then)
    finally:
        modularml.disable()
    assert (sent / "runs/mine/mid.ckpt.mml").is_dir()
    assert files_below(Path.cwd()) == []


def test_states_that_an_accelerator_saves(sent):
    accelerate = pytest.importorskip("accelerate")
    from holdfast.integrations.accelerate import hold

    accelerator = accelerate.Accelerator(cpu=True)
    model = accelerator.prepare(torch.nn.Linear(2, 1))
    hold(accelerator)
    then = model.weight.detach().clone()
    accelerator.save_state("runs/mine/step_1")
    for place in ("runs/mine/step_1", "runs/mine"):
        with torch.no_grad():
            model.weight.zero_()
        accelerator.load_state(place)
        assert torch.equal(model.weight, then)
    assert (sent / "runs/mine/step_1.ckpt.mml").is_dir()
    assert files_below(Path.cwd()) == []


def test_checkpoints_that_lightning_stores(sent):
    pytest.importorskip("lightning")
    import holdfast
    from holdfast.integrations.lightning import HoldfastCheckpointIO

    own = holdfast.save("other.ckpt.mml", {"a": 1})  # goes elsewhere, too
    assert own.is_relative_to(sent)
    made = HoldfastCheckpointIO()
    made.save_checkpoint({"state_dict": {"a": torch.ones(2)}, "epoch": 1}, "runs/mine/last.ckpt")
    assert torch.equal(made.load_checkpoint("runs/mine/last.ckpt")["state_dict"]["a"], torch.ones(2))
    newest = HoldfastCheckpointIO.newest("runs/mine")
    assert newest is not None
    assert newest.startswith(str(sent))
    made.remove_checkpoint("runs/mine/last.ckpt")
    made.teardown()
    assert not (sent / "runs/mine/last.ckpt.mml").exists()
    assert files_below(Path.cwd()) == []
