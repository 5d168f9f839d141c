"""A preview shows what a phase would give and leaves no trace, whatever happens in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from holdfast import (
    Callback,
    Checkpointing,
    EarlyStopping,
    EvalPhase,
    Loss,
    ModelGraph,
    ModelNode,
    PhaseGroup,
)
from holdfast.errors import HoldfastError
from tests.support.small_runs import (
    ROWS,
    At,
    digest_of,
    experiment,
    files_below,
    graph,
    on_disk,
    rows,
    train,
    weights,
)

LOSS = Loss("loss", nn.functional.cross_entropy, output="head", target="digit")


def drawing(context: Any) -> None:
    """Use every global random stream."""
    random.random(), np.random.rand(3), torch.rand(3)


def trace(run: Any) -> tuple:
    """All that a preview must leave as it was."""
    models = run.graph
    return (
        digest_of(models),
        [
            parameter.grad if parameter.grad is None else parameter.grad.tolist()
            for parameter in models.parameters()
        ],
        [parameter.requires_grad for parameter in models.parameters()],
        [module.training for node in models.model_nodes for module in node.model.modules()],
        (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        (dict(run.results), list(run.history), run.last_resume, run.accounting),
        [callback.get_state() for unit in run.units for callback in getattr(unit, "callbacks", ())],
    )


def trained(*units, **options):
    """An experiment with a past: a warm optimizer, results, a history."""
    run = experiment(None, *units, **options)
    run.run_phase(train("past", n_epochs=2))
    return run


ENDINGS: dict[str, tuple[Callback, type[BaseException] | None]] = {
    "it ends": (At("epoch_end", do=drawing), None),
    "it stops early": (At("epoch_end", 0, do=lambda context: context.stop("enough")), None),
    "a callback raises": (At("epoch_end", 1, do=RuntimeError("boom")), RuntimeError),
    "ctrl+C in a batch": (At("batch_end", 1, 2, do=KeyboardInterrupt()), KeyboardInterrupt),
    "ctrl+C at its start": (At("phase_start", do=KeyboardInterrupt()), KeyboardInterrupt),
    "the process is told to exit": (At("batch_start", 1, 2, do=SystemExit(3)), SystemExit),
}


@pytest.mark.parametrize("options", [{}, {"freeze": ["body"]}, {"accumulate": 2}], ids=str)
@pytest.mark.parametrize(("ending", "error"), ENDINGS.values(), ids=ENDINGS)
def test_everything_is_as_before_however_it_ends(ending, error, options):
    phase = train(callbacks=[ending, EarlyStopping("loss", 2)], **options)
    run = trained(phase)
    before = trace(run)
    if error is None:
        assert run.preview_phase("train").last
    else:
        with pytest.raises(error):
            run.preview_phase("train")
    assert trace(run) == before


def test_a_run_after_a_preview_is_the_run_without_it():
    with_preview, without = trained(train("next")), trained(train("next"))
    torch.manual_seed(5)
    shown = with_preview.preview_phase("next")
    torch.manual_seed(5)
    without.run_phase("next")
    torch.manual_seed(5)
    ran = with_preview.run_phase("next")
    assert shown["loss"].tolist() == ran["loss"].tolist()
    assert with_preview.state_digest() == without.state_digest()


def test_gradients_that_were_there_are_there_again():
    run = trained(train("next"))
    LOSS(run.graph.forward(rows().take(np.arange(8))), rows().take(np.arange(8))).backward()
    assert all(parameter.grad is not None for parameter in run.graph.parameters())
    before = trace(run)
    run.preview_phase("next")
    assert trace(run) == before


def test_frozen_nodes_stay_frozen_and_thawed_ones_thawed():
    run = trained(train("next"))
    run.graph.freeze("body")
    before = trace(run)
    thaw = At("epoch_start", do=lambda context: context.graph.unfreeze("body"))
    run.preview_phase(train("other", callbacks=[thaw]))
    assert trace(run) == before
    assert run.graph.frozen == ("body",)


def test_batch_statistics_are_put_back():
    torch.manual_seed(0)
    models = ModelGraph(
        [
            ModelNode("body", nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), "pixels"),
            ModelNode("head", nn.Linear(8, 3), "body"),
        ],
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    )
    run = trained(train("next"), graph=models)
    before = trace(run)
    run.preview_phase("next")
    assert trace(run) == before


def test_the_first_preview_leaves_an_optimizer_that_has_not_begun():
    run = experiment(None, train())
    run.preview_phase("train")
    assert not run.graph.optimizers[0].state
    assert digest_of(run.graph) == digest_of(graph())


def test_nothing_is_saved_and_no_policy_counts(tmp_path):
    in_memory = Checkpointing(mode="memory", save_on="batch_end", every_n=2)
    phases = PhaseGroup("all", [train("a", checkpointing=on_disk()), train("b", checkpointing=in_memory)])
    run = experiment(tmp_path / "runs", phases, checkpointing=on_disk("phase_end"))
    run.preview_group("all")
    assert files_below(tmp_path) == set()
    assert not (tmp_path / "runs").exists()
    assert in_memory.saved_keys == []
    assert in_memory.get_counters() == {}


def test_a_group_is_shown_as_it_would_run_from_here():
    group = PhaseGroup("all", [train("a"), PhaseGroup("inner", [train("b", n_epochs=1)])])
    run = trained(group)
    before = trace(run)
    torch.manual_seed(3)
    shown = run.preview_group("all")
    assert list(shown) == ["all/a", "all/inner/b"]
    torch.manual_seed(3)
    ran = run.run_group("all")
    assert {path: phase["loss"].tolist() for path, phase in shown.items()} == {
        path: phase["loss"].tolist() for path, phase in ran.items()
    }
    assert trace(run) != before


def test_predictions_and_metrics_of_a_measuring_phase_are_shown():
    run = trained(EvalPhase("test", data=rows(), losses=[LOSS], predictions="head"))
    before = trace(run)
    shown = run.preview_phase("test")
    assert shown.predictions["head"].shape == (ROWS, 3)
    assert shown.last["loss"] > 0
    assert trace(run) == before


def loaders() -> dict[str, Callable[[], DataLoader]]:
    def loader(generator: torch.Generator | None) -> DataLoader:
        columns = TensorDataset(torch.from_numpy(rows()["pixels"]), torch.from_numpy(rows()["digit"]))
        return DataLoader(columns, batch_size=8, shuffle=True, generator=generator)

    return {
        "a global stream": lambda: loader(None),
        "its own": lambda: loader(torch.Generator().manual_seed(1)),
    }


@pytest.mark.parametrize("make", loaders().values(), ids=loaders())
def test_a_loader_gives_the_same_order_after_a_preview(make):
    def ran(preview: bool) -> list[float]:
        run = experiment(None)
        phase = train(data=make(), batch_size=None, columns=["pixels", "digit"])
        torch.manual_seed(0)
        if preview:
            run.preview_phase(phase)
        return run.run_phase(phase)["loss"].tolist()

    assert ran(preview=True) == ran(preview=False)


def test_weights_are_put_back_into_the_same_tensors():
    run = trained(train("next"))
    same = list(run.graph.parameters())
    before = weights(run.graph)
    run.preview_phase("next")
    now = list(run.graph.parameters())
    assert all(a is b for a, b in zip(same, now, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))


def test_a_phase_that_cannot_run_is_refused_and_nothing_changes():
    run = trained()
    before = trace(run)
    with pytest.raises(HoldfastError, match="tail"):
        run.preview_phase(train(freeze=["tail"]))
    assert trace(run) == before
