"""The state of a graph: put back, it trains on bit for bit."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from holdfast import state
from holdfast.errors import StateMismatchError
from holdfast.experiment import Loss, ModelGraph, ModelNode
from holdfast.experiment import _steps as steps

LOSS = Loss("cross_entropy", nn.functional.cross_entropy, output="head", target="digit")
GENERATOR = np.random.default_rng(7)
BATCH = {"pixels": GENERATOR.normal(size=(16, 5)), "digit": GENERATOR.integers(0, 3, 16)}


def build(seed: int = 0, width: int = 4, dtype: torch.dtype = torch.float32) -> ModelGraph:
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), nn.Dropout(0.3)).to(dtype)
    return ModelGraph(
        [
            ModelNode("encoder", encoder, "pixels"),
            ModelNode(
                "head",
                nn.Linear(width, 3).to(dtype),
                "encoder",
                optimizer=lambda p: torch.optim.SGD(p, 0.1, 0.9),
            ),
        ],
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, amsgrad=True),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=50),
        scaler=torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2),
    )


def train(graph: ModelGraph, num_steps: int, seed: int = 1) -> list[float]:
    """Losses of some steps; dropout draws from `seed`."""
    torch.manual_seed(seed)
    graph.train()
    losses = []
    for _ in range(num_steps):
        loss = LOSS(graph.forward(BATCH, ["head"]), BATCH)
        steps.backward(graph, loss)
        if steps.optimizer_step(graph, clip_norm=1.0):
            steps.scheduler_step(graph)
        losses.append(loss.item())
    return losses


def digest(graph: ModelGraph) -> str:
    return state.digest(state.capture(graph))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", ["get_state", "capture"])
def test_a_fresh_graph_with_the_state_of_a_trained_one_trains_on_bit_for_bit(way, dtype):
    trained, fresh = build(dtype=dtype), build(seed=9, dtype=dtype)
    train(trained, 5)
    if way == "get_state":
        fresh.set_state(trained.get_state())
    else:
        state.restore(state.capture({"model_graph": trained}), {"model_graph": fresh})
    assert digest(fresh) == digest(trained)
    assert train(fresh, 5) == train(trained, 5)
    assert digest(fresh) == digest(trained)


def test_a_state_that_was_taken_is_never_changed_by_training_on():
    graph = build()
    train(graph, 3)
    taken, at_that_time = graph.get_state(), digest(graph)
    for _ in range(2):  # putting it back does not tie it to the graph either
        train(graph, 4)
        assert digest(graph) != at_that_time
        graph.set_state(taken)
        assert digest(graph) == at_that_time
    assert graph.optimizers[0].state[graph["encoder"].model[0].weight]["step"].item() == 3


def test_a_state_stands_copying_and_being_part_of_another_state():
    trained, fresh = build(), build(seed=9)
    train(trained, 3)
    taken = copy.deepcopy(trained.get_state())
    outer = state.rebuild(state.capture({"early_stopping": {"best_state": taken}}))
    fresh.set_state(outer["early_stopping"]["best_state"])
    assert digest(fresh) == digest(trained)


def test_state_paths_read_like_the_graph():
    graph = build()
    train(graph, 1)
    found = {path for path, _ in state.entries(state.capture({"model_graph": graph}).tree)}
    assert {
        "model_graph/encoder/0.weight",
        "model_graph/head/bias",
        "model_graph/optimizer/state/encoder%2F0.weight/exp_avg",
        "model_graph/optimizers/head/state/model_graph%2Fhead%2Fbias/momentum_buffer",
        "model_graph/scaler/scale",
    } <= found


def test_a_reserved_mark_among_the_keys_of_a_module_state_comes_through():
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"@object": 1, "@@": {"@state": (1, 2)}}

        def set_extra_state(self, extra):
            self.extra = extra

    graph = ModelGraph([ModelNode("odd", Odd(1, 1), "x")])
    graph.set_state(graph.get_state())
    assert graph["odd"].model.extra == {"@object": 1, "@@": {"@state": (1, 2)}}


def test_tied_weights_stay_tied_and_are_kept_once():
    def tied(seed: int) -> ModelGraph:
        torch.manual_seed(seed)
        embed, out = nn.Embedding(64, 64), nn.Linear(64, 64, bias=False)
        out.weight = embed.weight
        return ModelGraph(
            [ModelNode("embed", embed, "token"), ModelNode("out", out, "embed")],
            optimizer=lambda parameters: torch.optim.Adam(parameters),
        )

    trained, fresh = tied(0), tied(1)
    taken = trained.get_state()
    fresh.set_state(taken)
    assert fresh["out"].model.weight is fresh["embed"].model.weight
    assert torch.equal(fresh["out"].model.weight, trained["embed"].model.weight)
    assert state.capture(taken).size_bytes == 64 * 64 * 4


@pytest.mark.parametrize(
    ("saved", "live"), [(("encoder",), ()), ((), ("encoder",)), (("encoder",), ("head",))]
)
def test_what_was_frozen_is_frozen_again_and_can_be_thawed(saved, live):
    trained, fresh = build(), build(seed=9)
    trained.freeze(*saved)
    train(trained, 2)
    fresh.freeze(*live)
    fresh.set_state(trained.get_state())
    assert fresh.frozen == saved
    assert digest(fresh) == digest(trained)
    for graph in (fresh, trained):
        graph.unfreeze(*saved)
    assert all(parameter.requires_grad for parameter in fresh.parameters())
    assert train(fresh, 3) == train(trained, 3)


def test_the_state_of_another_graph_is_refused_and_changes_nothing():
    graph = build()
    before = digest(graph)
    with pytest.raises(StateMismatchError, match=r"encoder/0\.weight"):
        graph.set_state(build(width=6).get_state())
    other = ModelGraph([ModelNode("decoder", nn.Linear(1, 1), "x")])
    with pytest.raises(StateMismatchError, match="decoder"):
        graph.set_state(other.get_state())
    assert digest(graph) == before


def test_gradients_inside_an_accumulation_can_be_put_into_a_fresh_process_of_training():
    graph, fresh = build(), build()
    train(graph, 2)
    fresh.set_state(graph.get_state())
    for half in (graph, fresh):
        half.eval()
    steps.backward(graph, LOSS(graph.forward(BATCH), BATCH))
    saved = state.rebuild(state.capture(steps.gradients(graph)))
    assert "encoder/0.weight" in saved
    steps.set_gradients(fresh, saved)
    for half in (graph, fresh):
        steps.backward(half, LOSS(half.forward(BATCH), BATCH))
        steps.optimizer_step(half)
    assert digest(fresh) == digest(graph)
    assert steps.gradients(graph) == {}


def test_the_experiment_layer_needs_no_framework():
    program = (
        "import sys, holdfast.experiment\n"
        "assert not {'torch', 'sklearn', 'pandas', 'rich'} & sys.modules.keys(), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
