"""A graph of models: how it is built, run and frozen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from holdfast.errors import GraphError
from holdfast.experiment import MergeNode, ModelGraph, ModelNode


class Counting(nn.Module):
    """Adds a number and counts its calls."""

    def __init__(self, number: float = 1.0) -> None:
        super().__init__()
        self.number = number
        self.calls = 0

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return sum(values[1:], start=values[0]) + self.number


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def encoder_and_head(**options) -> ModelGraph:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    head = nn.Linear(4, 2)
    return ModelGraph(
        [ModelNode("encoder", encoder, "pixels"), ModelNode("head", head, "encoder")], **options
    )


BATCH = {"pixels": np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)}


# --- running it


def test_nodes_may_be_given_in_any_order():
    graph = ModelGraph(
        [
            MergeNode("both", ["left", "right"], how="sum"),
            ModelNode("right", Counting(10), "left"),
            ModelNode("left", Counting(1), "x"),
        ]
    )
    outputs = graph.forward({"x": torch.zeros(2)})
    assert {label: output.tolist() for label, output in outputs.items()} == {
        "both": [12.0, 12.0],
        "right": [11.0, 11.0],
        "left": [1.0, 1.0],
    }


@given(st.permutations(range(6)), st.data())
def test_each_needed_node_runs_once_and_the_others_not_at_all(order, data):
    # Node i takes in node i - 1 and node i // 2; node 0 the column.
    models = [Counting(i) for i in range(6)]
    inputs = [["x"], *([f"n{i - 1}", f"n{i // 2}"] for i in range(1, 6))]
    graph = ModelGraph([ModelNode(f"n{i}", models[i], inputs[i]) for i in order])
    asked = data.draw(st.integers(0, 5))

    outputs = graph.forward({"x": torch.zeros(1)}, [f"n{asked}"])

    expected = [0.0]
    for i in range(1, 6):
        expected.append(expected[i - 1] + expected[i // 2] + i)
    assert outputs.keys() == {f"n{asked}"}
    assert outputs[f"n{asked}"].item() == expected[asked]
    assert [model.calls for model in models] == [1] * (asked + 1) + [0] * (5 - asked)


@pytest.mark.parametrize(
    ("column", "inside"),
    [
        (np.ones((2, 3), np.float64), torch.float32),
        (np.ones((2, 3), ">f8"), torch.float32),
        (np.ones((2, 3), np.int32), torch.int32),
        (np.ones((2, 3), bool), torch.bool),
        (torch.ones(2, 3, dtype=torch.float64), torch.float64),
    ],
)
def test_numpy_floats_take_the_modules_dtype_and_everything_else_keeps_its_own(column, inside):
    class Seen(nn.Linear):
        def forward(self, value):
            self.dtype = value.dtype
            return value

    model = Seen(3, 3)
    ModelGraph([ModelNode("seen", model, "x")]).forward({"x": column})
    assert model.dtype == inside


def test_a_module_that_works_in_place_leaves_the_data_as_they_are():
    data = -np.ones(4, np.float32)
    data.flags.writeable = False
    outputs = ModelGraph([ModelNode("relu", nn.ReLU(inplace=True), "x")]).forward({"x": data})
    assert outputs["relu"].tolist() == [0] * 4
    assert data.tolist() == [-1] * 4


def test_a_merge_joins_along_an_axis():
    graph = ModelGraph([MergeNode("merged", ["a", "b"], axis=1)])
    a, b = np.ones((2, 1)), np.zeros((2, 2))
    assert graph.forward({"a": a, "b": b})["merged"].tolist() == [[1, 0, 0]] * 2
    mixed = graph.forward({"a": a, "b": torch.zeros(2, 2)})["merged"]
    assert mixed.dtype == torch.float32
    assert mixed.tolist() == [[1, 0, 0]] * 2


def test_a_method_of_a_module_can_give_the_output():
    class Auto(nn.Linear):
        def encode(self, value):
            return value * 2

    graph = ModelGraph([ModelNode("auto", Auto(1, 1), "x", method="encode")])
    assert graph.forward({"x": torch.ones(1)})["auto"].item() == 2


def test_evaluating_leaves_no_gradients_and_returns_to_training_even_after_an_error():
    graph = encoder_and_head()

    def interrupted():
        with graph.evaluating():
            assert not graph["head"].model.training
            assert not graph.forward(BATCH)["head"].requires_grad
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        interrupted()
    assert graph["head"].model.training
    assert graph.forward(BATCH)["head"].requires_grad


# --- what cannot be built


def identity(label, inputs="x"):
    return ModelNode(label, nn.Identity(), inputs)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: [identity("a", "c"), identity("b", "a"), identity("c", "b")], "in a cycle: 'a'.*'b'.*'c'"),
        (lambda: [identity("a", "a")], "in a cycle: 'a' -> 'a'"),
        (
            lambda: [identity("Encoder"), identity("encoder")],
            "node 'encoder': the label is used twice.*'Encoder'",
        ),
        (lambda: [identity("a/b")], "'a/b' cannot be used"),
        (lambda: [identity("")], "'' cannot be used"),
        (lambda: [identity("a\n")], "cannot be used"),
        (lambda: [identity(" a")], "cannot be used"),
        (lambda: [identity("..")], "'..' is reserved"),
        (lambda: [identity("Optimizer")], "'Optimizer' is reserved"),
        (lambda: [identity("frozen")], "'frozen' is reserved"),
        (lambda: [identity("a", [])], "node 'a': inputs= must name at least one"),
        (lambda: [MergeNode("m", ["x"], how="product")], "node 'm': how= is 'concat' or 'sum'"),  # type: ignore[arg-type]
        (lambda: [ModelNode("f", abs, "x")], "node 'f': a builtin_function_or_method is not a model"),
        (lambda: [nn.Identity()], "made of ModelNode and MergeNode, not Identity"),
        (list, "at least one node"),
    ],
)
def test_what_is_no_graph_is_refused_by_name(build, message):
    with pytest.raises(GraphError, match=message):
        ModelGraph(build())


@pytest.mark.parametrize(
    ("batch", "outputs", "message"),
    [
        ({"y": 1}, None, "node 'a': its input 'x' is neither a node .a. nor a column of the batch .y."),
        ({}, None, "which is empty"),
        ({"x": 1, "a": 2}, None, "node 'a': the batch has a column of that name"),
        ({"x": 1}, ["b"], "no node 'b' in the graph; there are a"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_by_name(batch, outputs, message):
    with pytest.raises(GraphError, match=message):
        ModelGraph([identity("a")]).forward(batch, outputs)


def test_an_error_inside_a_model_says_in_which_node_it_happened():
    graph = ModelGraph([ModelNode("wide", nn.Linear(3, 2), "x")])
    with pytest.raises(RuntimeError) as caught:
        graph.forward({"x": torch.ones(2, 5)})
    assert caught.value.__notes__ == ["This happened in node 'wide' of the model graph."]


def test_arrays_that_do_not_go_together_are_named_with_their_shapes():
    graph = ModelGraph([MergeNode("merged", ["a", "b"], axis=1)])
    with pytest.raises(GraphError, match=r"node 'merged': cannot concat arrays of shapes \(2, 1\), \(3, 1\)"):
        graph.forward({"a": np.ones((2, 1)), "b": np.ones((3, 1))})


# --- optimizers


def test_a_nodes_own_parameters_are_left_out_of_the_graphs_optimizer():
    encoder, head = nn.Linear(3, 4), nn.Linear(4, 2)
    graph = ModelGraph(
        [
            ModelNode("encoder", encoder, "x"),
            ModelNode("head", head, "encoder", optimizer=lambda p: torch.optim.SGD(p, lr=1.0)),
        ],
        optimizer=adam,
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    )
    ours, heads = graph.optimizers
    assert ours.param_groups[0]["params"] == list(encoder.parameters())
    assert heads.param_groups[0]["params"] == list(head.parameters())
    assert graph.scheduler.optimizer is ours


def test_a_model_in_two_nodes_is_optimized_once():
    shared = nn.Linear(2, 2)
    graph = ModelGraph([ModelNode("left", shared, "a"), ModelNode("right", shared, "b")], optimizer=adam)
    assert len(graph.parameters()) == len(graph.optimizers[0].param_groups[0]["params"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": lambda p: "adam"}, "must make a torch optimizer, not a str"),
        ({"optimizer": lambda p: torch.optim.LBFGS(p)}, "LBFGS needs a closure"),
        ({"scheduler": lambda o: o}, "scheduler= needs optimizer="),
    ],
)
def test_an_optimizer_that_cannot_train_the_graph_is_refused_when_it_is_built(options, message):
    with pytest.raises(GraphError, match=message):
        encoder_and_head(**options)


def test_an_optimizer_without_parameters_is_refused():
    with pytest.raises(GraphError, match="it has no parameters for its optimizer"):
        ModelGraph([identity("a")], optimizer=adam)
    with pytest.raises(GraphError, match="node 'a': it has no parameters for its optimizer"):
        ModelGraph([ModelNode("a", nn.Identity(), "x", optimizer=adam)])


# --- freezing


def test_a_frozen_node_stays_as_it_is_while_the_graph_trains():
    graph = encoder_and_head(optimizer=adam)
    graph.freeze("encoder")
    before = {name: value.clone() for name, value in graph["encoder"].model.state_dict().items()}
    for _ in range(3):
        graph.train()
        outputs = graph.forward(BATCH)
        outputs["head"].sum().backward()
        graph.optimizers[0].step()
    after = graph["encoder"].model.state_dict()
    assert graph.frozen == ("encoder",)
    assert all(torch.equal(before[name], after[name]) for name in before), "batch statistics count too"
    assert torch.equal(graph.forward(BATCH)["encoder"], outputs["encoder"]), "dropout is off"
    assert graph["head"].model.training


def test_thawing_gives_back_the_gradients_there_were_before_freezing():
    graph = encoder_and_head()
    first, second = graph["encoder"].model[0].parameters()
    second.requires_grad_(False)  # the user's own wish
    graph.freeze("encoder")
    graph.freeze("encoder")
    assert not first.requires_grad
    graph.unfreeze("encoder")
    assert (first.requires_grad, second.requires_grad) == (True, False)
    assert graph.frozen == ()
    assert graph["encoder"].model.training
    second.requires_grad_(True)
    graph.unfreeze("encoder")
    assert second.requires_grad, "thawing what is not frozen changes nothing"


def test_freezing_drops_gradients_so_that_no_later_step_moves_the_node():
    graph = encoder_and_head(optimizer=adam)
    graph.forward(BATCH)["head"].sum().backward()
    graph.freeze("encoder")
    before = graph["encoder"].model[0].weight.clone()
    graph.optimizers[0].step()
    assert torch.equal(before, graph["encoder"].model[0].weight)


def test_a_shared_parameter_is_frozen_as_long_as_one_of_its_nodes_is():
    shared = nn.Linear(2, 2)
    graph = ModelGraph([ModelNode("left", shared, "a"), ModelNode("right", shared, "b", frozen=True)])
    graph.freeze("left")
    graph.unfreeze("right")
    assert not shared.weight.requires_grad
    assert not shared.training
    graph.unfreeze("left")
    assert shared.weight.requires_grad
    assert shared.training


def test_a_label_that_cannot_be_frozen_changes_nothing():
    graph = ModelGraph([ModelNode("a", nn.Linear(1, 1), "x"), MergeNode("m", ["a", "a"])])
    with pytest.raises(GraphError, match="no node 'b' in the graph; there are a, m"):
        graph.freeze("a", "b")
    with pytest.raises(GraphError, match="node 'm' merges its inputs"):
        graph.freeze("a", "m")
    assert graph.frozen == ()
    assert graph["a"].model.weight.requires_grad


def test_a_device_moves_modules_and_what_enters_them():
    graph = encoder_and_head(device="meta")
    assert graph["head"].model.weight.is_meta
    assert graph.forward(BATCH)["head"].is_meta
