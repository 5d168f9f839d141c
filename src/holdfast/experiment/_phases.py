"""What a plan is made of: phases that train, measure or fit, and groups of them. Plain declarations.

A phase holds no state of its run, so one plan can be run again, previewed, or compared with the plan
that a checkpoint was saved under.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from ..data import BatchSource, Dataset, batches_of
from ..errors import UsageError
from ..policy import Checkpointing, attach_to_training, check_label
from ._callbacks import Callback
from ._graph import ModelGraph
from ._loss import Loss, Metric

Step: TypeAlias = Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]
"""A custom training step: `step(graph, batch)` updates the graph and returns values to record."""

_DEFAULT_BATCH_SIZE = 32


class TrainPhase:
    """Trains the graph for a number of epochs.

    Args:
        label: its name in results and checkpoints; unique in an experiment.
        data: a `Dataset`, a mapping of columns, a torch `DataLoader`, or another source (`data.batches_of`).
        losses: what is minimised: their weighted sum. Not needed with `step`.
        n_epochs: how many passes over the data.
        batch_size: rows of a batch of a `Dataset`; 32 by default. Loaders decide this and the next three themselves.
        shuffle: whether a `Dataset` comes in another order each epoch.
        seed: decides that order, together with the epoch.
        drop_last: whether a last batch of fewer rows is left out.
        columns: names of the items of a loader's batches; a selection of columns where they are named.
        metrics: what is measured besides, on the training batches and on `validation`.
        validation: data on which losses and metrics are measured at the end of each epoch, as `val_…`.
        freeze: labels of nodes to freeze during this phase only.
        scheduler_step: whether the graph's schedule advances each "epoch" or each "batch" that updates.
        scheduler_metric: the metric that a `ReduceLROnPlateau` follows.
        accumulate: over how many batches gradients are accumulated for one update; an epoch's last update may have fewer.
        clip_norm: the largest allowed norm of all gradients together.
        step: a custom training step instead of forward, losses, backward and update. Gradients that
            it leaves are saved with each checkpoint, so one that needs them no more sets them to None.
        callbacks: run at each hook in this order, with early stopping last.
        checkpointing: saves the graph, and everything needed to resume, at the training hooks.
        allow_reread: whether a resume may read an epoch again up to its position if nothing else helps.

    Raises:
        UsageError: an invalid value, or a policy that cannot work in a phase.
    """

    kind = "train"

    def __init__(
        self,
        label: str,
        *,
        data: Any,
        losses: Sequence[Loss] = (),
        n_epochs: int,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        columns: Sequence[str] | None = None,
        metrics: Sequence[Metric | Loss] = (),
        validation: Any = None,
        freeze: Sequence[str] = (),
        scheduler_step: Literal["epoch", "batch"] = "epoch",
        scheduler_metric: str | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
        step: Step | None = None,
        callbacks: Sequence[Callback] = (),
        checkpointing: Checkpointing | None = None,
        allow_reread: bool = False,
    ) -> None:
        self.label = check_label(label)
        self.n_epochs = _at_least_one("n_epochs", n_epochs)
        self.accumulate = _at_least_one("accumulate", accumulate)
        if scheduler_step not in ("epoch", "batch"):
            raise UsageError(f"scheduler_step= must be 'epoch' or 'batch', not {scheduler_step!r}")
        if clip_norm is not None and not clip_norm > 0:
            raise UsageError(f"clip_norm= must be a positive number, not {clip_norm!r}")
        if not losses and step is None:
            raise UsageError(f"phase {label!r} has nothing to minimise: pass losses= or step=")
        if step is not None and (accumulate > 1 or clip_norm is not None):
            raise UsageError(f"phase {label!r}: with step=, accumulate= and clip_norm= are up to the step")
        self.data, self.validation = data, validation
        self.losses, self.metrics = tuple(losses), tuple(metrics)
        self.batch_size = batch_size
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.columns = columns
        self.freeze = (freeze,) if isinstance(freeze, str) else tuple(freeze)
        self.scheduler_step, self.scheduler_metric = scheduler_step, scheduler_metric
        self.clip_norm = clip_norm
        self.step = step
        self.callbacks = tuple(callbacks)
        self.allow_reread = allow_reread
        self.checkpointing: Checkpointing | None = None
        self.set_checkpointing(checkpointing)

    def set_checkpointing(self, checkpointing: Checkpointing | None) -> None:
        """Save by this policy from the next run on; None: not at all. A policy that has a parent is copied."""
        self.checkpointing = None if checkpointing is None else attach_to_training(checkpointing)

    def batches(self) -> BatchSource:
        """A new source of this phase's training batches."""
        return batches_of(
            self.data,
            batch_size=self.batch_size or (_DEFAULT_BATCH_SIZE if _has_rows(self.data) else None),
            shuffle=self.shuffle,
            seed=self.seed,
            drop_last=self.drop_last,
            columns=self.columns,
            allow_reread=self.allow_reread,
        )

    def validation_batches(self) -> BatchSource | None:
        """A new source of the validation batches, in the order of the data; None without validation."""
        return None if self.validation is None else _in_order(self.validation, self.batch_size, self.columns)

    def describe(self) -> dict[str, Any]:
        """Plain facts that decide how the phase goes; compared at resume."""
        return {
            "kind": self.kind,
            "n_epochs": self.n_epochs,
            "losses": [repr(loss) for loss in self.losses],
            "accumulate": self.accumulate,
            "clip_norm": self.clip_norm,
            "scheduler_step": self.scheduler_step,
            "freeze": list(self.freeze),
            "own step": self.step is not None,
            "callbacks": [type(callback).__name__ for callback in self.callbacks],
        }

    def __repr__(self) -> str:
        return f"TrainPhase({self.label!r}, n_epochs={self.n_epochs})"


class EvalPhase:
    """Measures losses and metrics on data, without changing the graph.

    Args:
        label: as in `TrainPhase`.
        data: as in `TrainPhase`; batches come in the order of the data.
        losses: what is measured; the mean over all samples.
        metrics: what is measured besides.
        columns: as in `TrainPhase`.
        batch_size: rows of a batch of a `Dataset`; 32 by default.
        predictions: labels of nodes whose outputs are kept in the results, a row per sample.
    """

    kind = "eval"

    def __init__(
        self,
        label: str,
        *,
        data: Any,
        losses: Sequence[Loss] = (),
        metrics: Sequence[Metric | Loss] = (),
        batch_size: int | None = None,
        columns: Sequence[str] | None = None,
        predictions: str | Sequence[str] = (),
    ) -> None:
        self.label = check_label(label)
        self.predictions = (predictions,) if isinstance(predictions, str) else tuple(predictions)
        if not (losses or metrics or self.predictions):
            raise UsageError(
                f"phase {label!r} has nothing to measure: pass losses=, metrics= or predictions="
            )
        self.data, self.batch_size, self.columns = data, batch_size, columns
        self.losses, self.metrics = tuple(losses), tuple(metrics)

    def batches(self) -> BatchSource:
        """A new source of the batches, in the order of the data."""
        return _in_order(self.data, self.batch_size, self.columns)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "losses": [repr(loss) for loss in self.losses]}

    def __repr__(self) -> str:
        return f"EvalPhase({self.label!r})"


class FitPhase:
    """Fits one estimator of the graph to complete columns, once, on the outputs of the nodes before it.

    Args:
        label: its name in results and checkpoints.
        node: label of the node that holds the estimator.
        data: a `Dataset` or mapping of columns.
        target: the column to predict; None for estimators that need none.
        metrics: what is measured on the same data afterwards.
    """

    kind = "fit"

    def __init__(
        self,
        label: str,
        *,
        node: str,
        data: Any,
        target: str | None = None,
        metrics: Sequence[Metric | Loss] = (),
    ) -> None:
        self.label = check_label(label)
        if not _has_rows(data):
            raise UsageError(
                f"phase {label!r} fits to complete columns: give a Dataset or a mapping of arrays"
            )
        self.node, self.target, self.metrics = node, target, tuple(metrics)
        self.data = data if isinstance(data, Dataset) else Dataset(data)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "node": self.node, "target": self.target, "data": self.data.digest}

    def __repr__(self) -> str:
        return f"FitPhase({self.label!r}, node={self.node!r})"


class PhaseGroup:
    """Phases and groups that belong together and run in order.

    Args:
        label: its name in paths; unique in an experiment, like all labels.
        units: phases and groups.
    """

    kind = "group"

    def __init__(self, label: str, units: Sequence[Unit]) -> None:
        self.label = check_label(label)
        self.units = tuple(units)
        if not self.units:
            raise UsageError(f"group {label!r} is empty")

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def __repr__(self) -> str:
        return f"PhaseGroup({self.label!r}, {list(self.units)})"


Phase: TypeAlias = TrainPhase | EvalPhase | FitPhase
Unit: TypeAlias = Phase | PhaseGroup


def walk(units: Sequence[Unit], above: str = "") -> Iterator[tuple[str, Unit]]:
    """Every unit with its path, groups before what is in them, in the order of the plan."""
    for unit in units:
        path = f"{above}/{unit.label}" if above else unit.label
        yield path, unit
        if isinstance(unit, PhaseGroup):
            yield from walk(unit.units, path)


def _in_order(data: Any, batch_size: int | None, columns: Sequence[str] | None) -> BatchSource:
    size = (batch_size or _DEFAULT_BATCH_SIZE) if _has_rows(data) else None
    return batches_of(data, batch_size=size, shuffle=False, columns=columns)


def _has_rows(data: Any) -> bool:
    return isinstance(data, Dataset) or (isinstance(data, Mapping) and not hasattr(data, "state_dict"))


def _at_least_one(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}= must be an integer, at least 1, not {value!r}")
    return value


def functions_of(
    callbacks: Sequence[Callback], units: Sequence[Unit], graph: ModelGraph | None
) -> Iterator[Any]:
    """What a plan calls while it runs: steps, losses, metrics, callbacks that save nothing by themselves; some are the library's own.

    The models of `graph` are called, too: they come in one dict by name.
    """
    yield {} if graph is None else graph.models_by_name
    yield from _forgetful(callbacks)
    for _, unit in walk(units):
        yield getattr(unit, "step", None)
        yield getattr(unit, "columns", None)
        for each in (*getattr(unit, "losses", ()), *getattr(unit, "metrics", ())):
            yield each.function
        yield from _forgetful(getattr(unit, "callbacks", ()))


def saves_itself(callback: Callback) -> bool:
    """Whether it says what it keeps across a resume."""
    return type(callback).get_state is not Callback.get_state


def _forgetful(callbacks: Sequence[Callback]) -> Iterator[Callback]:
    return (each for each in callbacks if not saves_itself(each))
