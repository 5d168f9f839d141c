"""The nodes of a model graph: their labels, their inputs, and the order they must run in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeAlias

from ..errors import GraphError
from .backends import Backend, How, backend_of, merge

OptimizerFactory: TypeAlias = Callable[[list[Any]], Any]
"""Takes the parameters, gives an optimizer: `lambda parameters: torch.optim.Adam(parameters, lr=1e-3)`."""

# Parts of the graph's state besides its nodes.
RESERVED_LABELS = frozenset({"optimizer", "optimizers", "scheduler", "scaler", "frozen"})
_LABEL = re.compile(r"[\w.+=-]+(?: [\w.+=-]+)*")


class ModelNode:
    """A model in a graph: a torch module or a scikit-learn estimator.

    Args:
        label: unique in its graph (upper and lower case do not differ); part of the state's paths.
        model: used as it is, not copied. One model may be used in several nodes.
        inputs: one name or several, of nodes or of columns of the batch, handed over in this order:
            `module(*inputs)`, or side by side as columns of one array for an estimator.
        optimizer: makes this node's own optimizer; its parameters are left out of the graph's.
        frozen: start frozen, as by `ModelGraph.freeze`.
        method: which method gives the output. Default: a module is called; an estimator by
            `predict`, or by `transform` if it has no `predict`. `"predict_proba"` is a common choice.

    Raises:
        GraphError: the label cannot be used, there are no inputs, or no backend knows the model.
    """

    def __init__(
        self,
        label: str,
        model: Any,
        inputs: str | Sequence[str],
        *,
        optimizer: OptimizerFactory | None = None,
        frozen: bool = False,
        method: str | None = None,
    ) -> None:
        self.label = checked_label(label)
        self.inputs = _names(label, inputs)
        self.model = model
        self.optimizer = optimizer
        self.starts_frozen = frozen
        self.method = method
        with about_node(label):
            self.backend: Backend = backend_of(model)

    def __repr__(self) -> str:
        return f"ModelNode({self.label!r}, {type(self.model).__name__}, inputs={list(self.inputs)})"

    def run(self, inputs: Sequence[Any], device: Any) -> Any:
        """The model's output for these inputs."""
        return self.backend.forward(self.model, inputs, method=self.method, device=device)


class MergeNode:
    """Joins several outputs or columns into one array: `how="concat"` along `axis`, or `how="sum"`.

    Raises:
        GraphError: the label cannot be used, there are no inputs, or `how` is neither of the two.
    """

    def __init__(self, label: str, inputs: Sequence[str], how: How = "concat", axis: int = -1) -> None:
        self.label = checked_label(label)
        self.inputs = _names(label, inputs)
        if how not in ("concat", "sum"):
            raise GraphError(f"node {label!r}: how= is 'concat' or 'sum', not {how!r}")
        self.how: How = how
        self.axis = axis

    def __repr__(self) -> str:
        return f"MergeNode({self.label!r}, {list(self.inputs)}, how={self.how!r}, axis={self.axis})"

    def run(self, inputs: Sequence[Any], device: Any) -> Any:
        """The joined array: a tensor if one of the inputs is, else a NumPy array."""
        return merge(inputs, self.how, self.axis, device)


Node: TypeAlias = ModelNode | MergeNode


def checked_label(label: str) -> str:
    """`label`, if it can name a node and stand in a state path unescaped.

    Raises:
        GraphError: it cannot.
    """
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise GraphError(
            f"node label {label!r} cannot be used: take letters, digits, '_', '-', '.', '+', '=', and single spaces between"
        )
    if label.casefold() in RESERVED_LABELS or label in (".", ".."):
        raise GraphError(f"node label {label!r} is reserved; choose another")
    return label


def by_label(nodes: Sequence[Node]) -> dict[str, Node]:
    """The nodes by label.

    Raises:
        GraphError: there are none, something is not a node, or a label is used twice.
    """
    found: dict[str, Node] = {}
    folded: dict[str, str] = {}
    for node in nodes:
        if not isinstance(node, (ModelNode, MergeNode)):
            raise GraphError(f"a graph is made of ModelNode and MergeNode, not {type(node).__name__}")
        other = folded.setdefault(node.label.casefold(), node.label)
        if node.label in found or other != node.label:
            raise GraphError(f"node {node.label!r}: the label is used twice (there is {other!r} already)")
        found[node.label] = node
    if not found:
        raise GraphError("a model graph needs at least one node")
    return found


def running_order(nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """The labels, each after those it takes in; the same for the same nodes, whatever the process.

    Raises:
        GraphError: the nodes depend on each other in a cycle.
    """
    sorter = TopologicalSorter({label: _parents(node, nodes) for label, node in nodes.items()})
    try:
        return tuple(sorter.static_order())
    except CycleError as err:
        # graphlib names each node before the one that needs it.
        cycle = " -> ".join(repr(label) for label in err.args[1])
        raise GraphError(f"the nodes depend on each other in a cycle: {cycle}") from None


def ancestors(wanted: Sequence[str], nodes: Mapping[str, Node]) -> set[str]:
    """The wanted labels and those of every node they depend on."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        label = waiting.pop()
        if label not in found:
            found.add(label)
            waiting.extend(_parents(nodes[label], nodes))
    return found


class about_node:
    """Says which node an error is about."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, err: BaseException | None, trace: Any) -> None:
        if isinstance(err, GraphError):
            raise GraphError(f"node {self.label!r}: {err}") from err
        if isinstance(err, Exception):
            err.add_note(f"This happened in node {self.label!r} of the model graph.")


def _parents(node: Node, nodes: Mapping[str, Node]) -> list[str]:
    return [name for name in node.inputs if name in nodes]


def _names(label: str, inputs: str | Sequence[str]) -> tuple[str, ...]:
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise GraphError(
            f"node {label!r}: inputs= must name at least one node or column of the batch, not {inputs!r}"
        )
    return names
