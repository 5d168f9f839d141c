"""A graph of models that is trained, frozen, saved and restored as one.

Nodes run in an order that depends on the graph alone, each at most once per batch, and only those that
the requested outputs depend on. The graph's state is that of its parts by name: `encoder/0.weight`,
`optimizer/...`; `holdfast.state` captures and restores it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

from ..errors import GraphError
from ..runtime import options_of
from ._freezing import Freezing
from ._nodes import ModelNode, Node, OptimizerFactory, about_node, ancestors, by_label, running_order
from ._plain import put_state, take_state


class ModelGraph:
    """Models joined by name: the output of a node, or a column of the batch, is the input of another.

    Args:
        nodes: `ModelNode` and `MergeNode`, in any order.
        optimizer: makes the optimizer of all parameters but those of nodes that have their own. Frozen
            parameters are in it too, so that they can be unfrozen later; without gradients they do not change.
        scheduler: makes the learning-rate schedule of that optimizer.
        scaler: a `torch.amp.GradScaler`.
        device: where the torch modules are moved, and their inputs. None: they stay where they are.

    Raises:
        GraphError: the nodes do not form a graph (a cycle, a duplicate label), or an optimizer cannot be made.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: Callable[[Any], Any] | None = None,
        scaler: Any | None = None,
        device: Any | None = None,
    ) -> None:
        self._nodes = by_label(nodes)
        self._order = running_order(self._nodes)
        self._device = device
        if device is not None:
            for node in self.model_nodes:
                node.backend.place(node.model, device)
        self._freezing = Freezing(self.model_nodes)
        self._node_optimizers, self._optimizer = self._make_optimizers(optimizer)
        if scheduler is not None and self._optimizer is None:
            raise GraphError("scheduler= needs optimizer=: it belongs to the graph's own optimizer")
        self.scheduler: Any | None = None if scheduler is None else scheduler(self._optimizer)
        self.scaler: Any | None = scaler
        self.freeze(*(node.label for node in self.model_nodes if node.starts_frozen))

    # --- structure -----------------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """The nodes' labels, in the order in which they were given."""
        return tuple(self._nodes)

    @property
    def model_nodes(self) -> tuple[ModelNode, ...]:
        """The nodes that hold a model, in the order in which they were given."""
        return tuple(node for node in self._nodes.values() if isinstance(node, ModelNode))

    @property
    def models_by_name(self) -> dict[str, Any]:
        """The models by their labels, as names of variables: without dots."""
        found: dict[str, Any] = {}
        for node in self.model_nodes:
            name = node.label.replace(".", "_")
            while name in found:
                name += "_"
            found[name] = node.model
        return found

    def __getitem__(self, label: str) -> Node:
        self._must_know(label)
        return self._nodes[label]

    def __contains__(self, label: object) -> bool:
        return label in self._nodes

    def __repr__(self) -> str:
        arrows = (f"{'+'.join(node.inputs)} -> {label}" for label, node in self._nodes.items())
        return f"ModelGraph({', '.join(arrows)})"

    # --- running it -------------------------------------------------------------------------------

    def forward(self, batch: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """The outputs of these nodes (default: of all) for a batch of named columns.

        Raises:
            GraphError: an output or an input is missing, or a column has the name of a node.
        """
        wanted = self.labels if outputs is None else tuple(outputs)
        self._must_know(*wanted)
        for label in self._nodes:
            if label in batch:
                raise GraphError(f"node {label!r}: the batch has a column of that name; rename one of them")
        needed = ancestors(wanted, self._nodes)
        values: dict[str, Any] = {}
        for label in self._order:
            if label in needed:
                inputs = [self._input(label, name, batch, values) for name in self._nodes[label].inputs]
                with about_node(label):
                    values[label] = self._nodes[label].run(inputs, self._device)
        return {label: values[label] for label in wanted}

    def fit_node(self, label: str, data: Mapping[str, Any], target: str | None = None) -> None:
        """Fit the estimator of a node to complete columns, passed through the nodes before it.

        Args:
            label: a node that holds an estimator.
            data: all rows of every column that is needed, at once.
            target: the column to predict; None for an estimator that needs none.

        Raises:
            GraphError: the node is unknown, frozen, or trained by gradients; or a column is missing.
        """
        node = self[label]
        if not isinstance(node, ModelNode):
            raise GraphError(f"node {label!r} merges its inputs, so there is nothing to fit")
        if label in self._freezing.labels:
            raise GraphError(f"node {label!r} is frozen: unfreeze it to fit it again")
        if target is not None and target not in data:
            raise GraphError(
                f"node {label!r}: there is no column {target!r} to fit it to; there are {sorted(data)}"
            )
        before = [name for name in node.inputs if name in self._nodes]
        with self.evaluating():
            values = self.forward(data, before)
        inputs = [self._input(label, name, data, values) for name in node.inputs]
        with about_node(label):
            node.backend.fit(node.model, inputs, None if target is None else data[target])

    @property
    def is_training(self) -> bool:
        """Whether modules that are not frozen are in training behaviour."""
        return self._freezing.training

    def train(self) -> None:
        """Training behaviour for all modules but the frozen ones."""
        self._freezing.set_training(True)

    def eval(self) -> None:
        """Evaluation behaviour for all modules."""
        self._freezing.set_training(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation behaviour and no gradients inside the block, the former behaviour after it."""
        was_training = self._freezing.training
        with ExitStack() as stack:
            if torch := sys.modules.get("torch"):
                stack.enter_context(torch.no_grad())
            self.eval()
            try:
                yield
            finally:
                self._freezing.set_training(was_training)

    # --- optimizing it ----------------------------------------------------------------------------

    @property
    def optimizers(self) -> list[Any]:
        """The graph's optimizer, if it has one, then those of its nodes."""
        own = [] if self._optimizer is None else [self._optimizer]
        return own + list(self._node_optimizers.values())

    @cached_property
    def options(self) -> list[dict[str, Any]]:
        """The optimizers' numeric options by group as the script set them: as they are when this is first asked."""
        return options_of(self.optimizers)

    def require_optimizer(self) -> None:
        """Raises GraphError if there is nothing that could train the graph."""
        if not self.optimizers:
            raise GraphError(
                "the model graph is missing an optimizer: pass one to ModelGraph or to a ModelNode, such as "
                "optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)"
            )

    def parameters(self) -> list[Any]:
        """Every parameter of every node once, frozen ones included."""
        return _unique(p for node in self.model_nodes for p in node.backend.parameters(node.model))

    def zero_grad(self) -> None:
        """Leave no gradient on any parameter."""
        for parameter in self.parameters():
            parameter.grad = None

    # --- freezing parts of it ---------------------------------------------------------------------

    @property
    def frozen(self) -> tuple[str, ...]:
        """The labels of the frozen nodes, in the order of the graph."""
        return tuple(label for label in self._nodes if label in self._freezing.labels)

    def freeze(self, *labels: str) -> None:
        """Keep these nodes as they are: no gradients, and evaluation behaviour even while training.

        So dropout is off and batch normalisation keeps its statistics. A parameter that two nodes
        share stays frozen as long as one of them is. An estimator that is frozen cannot be fitted.

        Raises:
            GraphError: a label is unknown or has no model; nothing was changed.
        """
        self._freezing.freeze(self._models_of(labels))

    def unfreeze(self, *labels: str) -> None:
        """Unfreeze these nodes; parameters that were trainable before freezing become trainable again.

        Raises:
            GraphError: a label is unknown or has no model; nothing was changed.
        """
        self._freezing.thaw(self._models_of(labels))

    # --- its state --------------------------------------------------------------------------------

    def state_parts(self) -> dict[str, Any]:
        """Everything that decides how training continues, by name; models first, as optimizers refer to them."""
        parts: dict[str, Any] = {node.label: node.model for node in self.model_nodes}
        if self._optimizer is not None:
            parts["optimizer"] = self._optimizer
        if self._node_optimizers:
            parts["optimizers"] = dict(self._node_optimizers)
        if self.scheduler is not None:
            parts["scheduler"] = self.scheduler
        if self.scaler is not None:
            parts["scaler"] = self.scaler
        parts["frozen"] = list(self.frozen)
        return parts

    def adopt_parts(self, parts: Mapping[str, Any]) -> None:
        """After a restore: freeze what was frozen. All other parts were filled in place."""
        self._freezing.adopt(node.label for node in self._models_of(parts["frozen"]))

    def get_state(self) -> dict[str, Any]:
        """An independent copy of the entire state, optimizer included, as plain data and arrays on the host."""
        return take_state(self)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore, bit for bit, what `get_state` returned; `state` can be used again.

        Raises:
            StateMismatchError: it is the state of another graph; nothing was changed.
        """
        put_state(state, self)

    # --- helpers ----------------------------------------------------------------------------------

    def _make_optimizers(self, factory: OptimizerFactory | None) -> tuple[dict[str, Any], Any | None]:
        made: dict[str, Any] = {}
        taken: set[int] = set()
        for node in self.model_nodes:
            if node.optimizer is not None:
                own = [p for p in node.backend.parameters(node.model) if id(p) not in taken]
                taken.update(map(id, own))
                made[node.label] = _make_optimizer(node.optimizer, own, f"node {node.label!r}")
        if factory is None:
            return made, None
        rest = [p for p in self.parameters() if id(p) not in taken]
        return made, _make_optimizer(factory, rest, "model graph")

    def _input(self, label: str, name: str, batch: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        if name in batch:
            return batch[name]
        raise GraphError(
            f"node {label!r}: its input {name!r} is neither a node ({', '.join(self._nodes)}) "
            f"nor a column of the batch ({', '.join(map(str, batch)) or 'which is empty'})"
        )

    def _models_of(self, labels: Sequence[str]) -> list[ModelNode]:
        self._must_know(*labels)
        nodes = [self._nodes[label] for label in labels]
        for node in nodes:
            if not isinstance(node, ModelNode):
                raise GraphError(f"node {node.label!r} merges its inputs, so there is nothing to freeze")
        return [node for node in nodes if isinstance(node, ModelNode)]

    def _must_know(self, *labels: str) -> None:
        for label in labels:
            if label not in self._nodes:
                raise GraphError(
                    f"there is no node {label!r} in the graph; there are {', '.join(self._nodes)}"
                )


def _make_optimizer(factory: OptimizerFactory, over: list[Any], where: str) -> Any:
    if not over:
        raise GraphError(f"{where}: it has no parameters for its optimizer")
    from .backends import torch as torch_backend  # parameters exist only where torch is loaded

    return torch_backend.make_optimizer(factory, over, where)


def _unique(items: Iterator[Any]) -> list[Any]:
    return list({id(item): item for item in items}.values())
