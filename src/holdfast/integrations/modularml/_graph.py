"""The live parts of a ModularML graph: modules, estimators and optimizers, by the labels of their nodes."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import torch
from modularml.core.models.torch_wrapper import TorchModelWrapper
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode

from ...errors import PlanMismatchError


def model_nodes(graph: ModelGraph | None) -> dict[str, ModelNode]:
    """Those of the graph's nodes that hold a model, by label."""
    nodes = {} if graph is None else graph.nodes
    return {node.label: node for node in nodes.values() if isinstance(node, ModelNode)}


def live_parts(graph: ModelGraph | None) -> dict[str, Any]:
    """What training changes, as Holdfast's adapters take it; built by then."""
    nodes = model_nodes(graph)
    parts: dict[str, Any] = {
        "model_graph": {label: _model_of(node) for label, node in nodes.items() if node.is_built},
        "node_optimizers": {
            label: node._optimizer.instance
            for label, node in nodes.items()
            if node._optimizer is not None and node._optimizer.is_built
        },
    }
    if graph is not None and graph._optimizer is not None and graph._optimizer.is_built:
        parts["optimizer"] = graph._optimizer.instance
    return parts


def optimizers_of(graph: ModelGraph | None) -> dict[str, Any]:
    """Those that are built, by label; the graph's own has none."""
    parts = live_parts(graph)
    own = {"": parts["optimizer"]} if "optimizer" in parts else {}
    return own | {f"node {label}": each for label, each in parts["node_optimizers"].items()}


def describe(graph: ModelGraph | None) -> dict[str, Any]:
    """What has to be so before the live parts can be filled."""
    nodes = model_nodes(graph)
    built_from = None if graph is None else graph._opt_built_from_node_ids
    return {
        "nodes": {label: {"built": node.is_built, "frozen": node.is_frozen} for label, node in nodes.items()},
        "optimizer": _labels(graph, built_from) if "optimizer" in live_parts(graph) else None,
        "node_optimizers": sorted(live_parts(graph)["node_optimizers"]),
    }


def make_ready(graph: ModelGraph | None, then: Mapping[str, Any]) -> None:
    """Build and freeze what was built and frozen, so that the live parts are there to be filled.

    Raises:
        PlanMismatchError: the graph has other nodes than the saved one.
    """
    nodes = model_nodes(graph)
    if nodes.keys() != then["nodes"].keys():
        before, now = sorted(then["nodes"]), sorted(nodes)
        raise PlanMismatchError([f"the model graph had the nodes {before}, and has {now}"])
    if graph is None:
        return
    if any(each["built"] for each in then["nodes"].values()) and not graph.is_built:
        graph.build()
    for label, each in then["nodes"].items():
        if each["frozen"] != nodes[label].is_frozen:
            nodes[label].freeze() if each["frozen"] else nodes[label].unfreeze()
    if then["optimizer"] is not None:
        ids = [nodes[label].node_id for label in then["optimizer"]]
        if graph._opt_built_from_node_ids != set(ids) or "optimizer" not in live_parts(graph):
            graph._build_optimizer(ids, include_only_unfrozen=False, force=True)
    for label in then["node_optimizers"]:
        optimizer = nodes[label]._optimizer
        if optimizer is not None and not optimizer.is_built:
            nodes[label]._build_optimizer()


def memory_state(graph: ModelGraph) -> dict[str, Any]:
    """The graph's own state without the objects in it: who is connected to whom is no state of training."""
    state = graph.get_state()
    for each in state["nodes"].values():
        each.pop("super", None)
    return state


def in_order(graph: ModelGraph, info: dict[str, Any]) -> dict[str, Any]:
    """ModularML's choice of parameters for an optimizer, in one order in every process: by label.

    Its own order is that of a set of random ids.
    """
    if "parameters" in info:
        chosen: list[Any] = sorted(
            (graph.nodes[each] for each in info["contributing_nodes"]), key=attrgetter("label")
        )
        info["parameters"] = [each for node in chosen for each in node.model.parameters()]
    return info


def _labels(graph: ModelGraph | None, ids: Any) -> list[str]:
    return sorted(graph.nodes[each].label for each in ids or () if graph is not None and each in graph.nodes)


def _model_of(node: ModelNode) -> Any:
    model = node.model
    if isinstance(model, TorchModelWrapper):
        return model.model
    if isinstance(model, torch.nn.Module):
        return model
    return getattr(model, "model", model)  # scikit-learn's estimator in its wrapper
