"""Which nodes of a graph are frozen, and which of their parameters are trained again once unfrozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ._nodes import ModelNode


class Freezing:
    """The frozen ones among `nodes`, and the training mode of all of them."""

    def __init__(self, nodes: Sequence[ModelNode]) -> None:
        self.labels: set[str] = set()
        self.training = True
        self._nodes = nodes
        # By id; a frozen node's own flags no longer tell, in a fresh graph that a checkpoint was put into either.
        self._learning = {
            id(parameter) for node in nodes for parameter in _parameters(node) if parameter.requires_grad
        }

    def freeze(self, nodes: Iterable[ModelNode]) -> None:
        for node in nodes:
            held = self._held()
            for parameter in _parameters(node):
                if id(parameter) not in held:
                    self._remember(parameter)
                parameter.requires_grad_(False)
                parameter.grad = None
            self.labels.add(node.label)
        self.set_modes()

    def thaw(self, nodes: Iterable[ModelNode]) -> None:
        thawed = [node for node in nodes if node.label in self.labels]
        self.labels -= {node.label for node in thawed}
        held = self._held()
        for node in thawed:
            for parameter in _parameters(node):
                if id(parameter) not in held:
                    parameter.requires_grad_(id(parameter) in self._learning)
        self.set_modes()

    def adopt(self, labels: Iterable[str]) -> None:
        """Take these labels from a restored state; it has set the parameters' flags itself."""
        self.labels = set(labels)
        self.set_modes()

    def set_training(self, training: bool) -> None:
        self.training = training
        self.set_modes()

    def set_modes(self) -> None:
        """Put every model into the mode of the graph, frozen ones into evaluation."""
        for node in self._nodes:
            node.backend.set_training(node.model, self.training)
        # Second, so that a model that stands in two nodes stays in evaluation mode if one of them is frozen.
        for node in self._nodes:
            if node.label in self.labels:
                node.backend.set_training(node.model, False)

    def _remember(self, parameter: Any) -> None:
        change = self._learning.add if parameter.requires_grad else self._learning.discard
        change(id(parameter))

    def _held(self) -> set[int]:
        """The ids of the parameters that some frozen node has."""
        frozen = (node for node in self._nodes if node.label in self.labels)
        return {id(parameter) for node in frozen for parameter in _parameters(node)}


def _parameters(node: ModelNode) -> list[Any]:
    return node.backend.parameters(node.model)
