"""What a phase minimises and what it measures, each a function of one output and one target."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from .backends import is_tensor, to_numpy


class Loss:
    """A scalar to minimise: `function(output, target)`, in torch's order of arguments.

    Args:
        label: the column of the results it is recorded in.
        function: takes the output (one row per sample) and the target, gives a scalar. If the output is
            a tensor, the target comes as one on the same device: NumPy floats in the output's dtype,
            anything else in its own. If not, both come as NumPy arrays.
        output: label of the node.
        target: a column of the batch, or the label of another node; None calls `function(output)`.
        weight: its share in the sum of losses; the recorded value is not weighted.
    """

    def __init__(
        self,
        label: str,
        function: Callable[..., Any],
        *,
        output: str,
        target: str | None,
        weight: float = 1.0,
    ) -> None:
        if not math.isfinite(weight):
            raise UsageError(f"loss {label!r}: weight= must be finite, not {weight}")
        self.label = label
        self.function = function
        self.output = output
        self.target = target
        self.weight = weight

    def __repr__(self) -> str:
        return f"Loss({self.label!r}, output={self.output!r}, target={self.target!r}, weight={self.weight})"

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """The unweighted loss of a batch: a scalar tensor, or a number.

        Raises:
            UsageError: the output or the target is missing, or the function gives no scalar.
        """
        output, target = _operands(self, outputs, batch)
        if is_tensor(output):
            from .backends import torch as torch_backend

            floating = output.dtype if output.is_floating_point() else None
            if target is not None:
                target = torch_backend.to_tensor(target, device=output.device, floating=floating)
        else:
            output = to_numpy(output)
            target = None if target is None else to_numpy(target)
        value = self.function(output) if self.target is None else self.function(output, target)
        return _scalar(self, value)


class Metric:
    """A number to watch: `function(target, output)`, in scikit-learn's order, on NumPy arrays.

    Batches count by their size in the mean over an epoch. For metrics that are no such mean, measure on
    the predictions of a phase instead.

    Args:
        label: the column of the results it is recorded in.
        function: takes the target and the output, such as `sklearn.metrics.mean_absolute_error`.
        output: label of the node.
        target: a column of the batch, or the label of another node; None calls `function(output)`.
    """

    def __init__(self, label: str, function: Callable[..., Any], *, output: str, target: str | None) -> None:
        self.label = label
        self.function = function
        self.output = output
        self.target = target

    def __repr__(self) -> str:
        return f"Metric({self.label!r}, output={self.output!r}, target={self.target!r})"

    def __call__(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> float:
        """The metric of a batch.

        Raises:
            UsageError: the output or the target is missing, or the function gives no scalar.
        """
        output, target = _operands(self, outputs, batch)
        output = to_numpy(output)
        value = self.function(output) if self.target is None else self.function(to_numpy(target), output)
        return as_float(_scalar(self, value))


class Averages:
    """Means of named values over the batches so far, each weighted by its batch's size."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Count a batch of that many samples in."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + as_float(value) * num_samples
            self._weights[name] = self._weights.get(name, 0.0) + num_samples

    def means(self) -> dict[str, float]:
        """The mean of each name that has a sample; NaN if one of its values was."""
        return {
            name: total / self._weights[name] for name, total in self._sums.items() if self._weights[name]
        }

    def get_state(self) -> dict[str, Any]:
        """Plain data, from which `set_state` continues bit for bit."""
        return {"sums": dict(self._sums), "weights": dict(self._weights)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._sums = dict(state["sums"])
        self._weights = dict(state["weights"])


def total_loss(
    losses: Sequence[Loss], outputs: Mapping[str, Any], batch: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The weighted sum of the losses of a batch, and each by its label, unweighted.

    Raises:
        UsageError: there is no loss, or one cannot be computed.
    """
    if not losses:
        raise UsageError("there is no loss to sum")
    values = {loss.label: loss(outputs, batch) for loss in losses}
    first, *others = (
        values[loss.label] if loss.weight == 1 else values[loss.label] * loss.weight for loss in losses
    )
    return sum(others, start=first), values


def outputs_needed(measures: Sequence[Loss | Metric], labels: Collection[str]) -> tuple[str, ...]:
    """Those of the graph's `labels` that these losses and metrics use: what `forward` must compute.

    Raises:
        UsageError: an output is not among them, or a label is used twice.
    """
    seen: set[str] = set()
    for measure in measures:
        if measure.label in seen:
            raise UsageError(f"two losses or metrics are named {measure.label!r}; rename one of them")
        seen.add(measure.label)
        if measure.output not in labels:
            raise UsageError(
                f"{measure!r}: there is no node {measure.output!r}; there are {', '.join(labels)}"
            )
    names = (name for measure in measures for name in (measure.output, measure.target))
    return tuple(dict.fromkeys(name for name in names if name is not None and name in labels))


def as_float(value: Any) -> float:
    """A scalar of any framework as a Python float."""
    return float(value.detach()) if is_tensor(value) else float(value)


def _operands(
    measure: Loss | Metric, outputs: Mapping[str, Any], batch: Mapping[str, Any]
) -> tuple[Any, Any]:
    if measure.output not in outputs:
        raise UsageError(
            f"{measure!r}: there is no output {measure.output!r}; there are {', '.join(outputs) or 'none'}"
        )
    if measure.target is None:
        return outputs[measure.output], None
    for source in (batch, outputs):
        if measure.target in source:
            return outputs[measure.output], source[measure.target]
    raise UsageError(
        f"{measure!r}: the target {measure.target!r} is neither a column of the batch "
        f"({', '.join(map(str, batch)) or 'which is empty'}) nor an output"
    )


def _scalar(measure: Loss | Metric, value: Any) -> Any:
    shape = getattr(value, "shape", ())
    if math.prod(shape) != 1:
        raise UsageError(
            f"{measure!r}: the function gave shape {tuple(shape)}, not a scalar; reduce it, for example by its mean"
        )
    return value.reshape(()) if shape else value
