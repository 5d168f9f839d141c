"""User code that runs at the hooks of a run, and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..policy import Direction
from ..records import Moment

if TYPE_CHECKING:
    from ._graph import ModelGraph
    from ._results import RunResults


@dataclass(kw_only=True)
class Context:
    """What a callback sees of the run.

    Attributes:
        experiment: the experiment's label.
        moment: where the run is; `moment.phase` is the phase's path.
        graph: the live model graph; None in an experiment without one.
        metrics: means by name; of the batches so far at batch hooks, of the entire epoch at `epoch_end`.
        results: all that has been recorded so far.
        stop_reason: why the phase is to stop; None unless a stop was requested.
        exception: what ended the phase, at `on_exception`.
    """

    experiment: str
    moment: Moment
    graph: ModelGraph | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    results: RunResults | None = None
    stop_reason: str | None = None
    exception: BaseException | None = None

    @property
    def phase(self) -> str | None:
        """The phase's path; None outside phases."""
        return self.moment.phase

    def stop(self, reason: str) -> None:
        """Ask the phase to stop: after this batch at a batch hook, else after this epoch. The first reason is kept."""
        if self.stop_reason is None:
            self.stop_reason = reason


class Callback:
    """Subclass it and define the hooks you need; each gets the `Context`.

    Callbacks run in the order in which they were given, those with `runs_last` after all others, and
    before the save of that hook. A hook that raises ends the run; what it raised comes out of `run()`.

    A resumed run continues after the last save: it repeats no hook that had run by then, so a phase that
    is re-entered in the middle has no second `on_phase_start`. A callback with memory of its own
    therefore defines `get_state` (plain data and arrays) and `set_state`, which gets an equal value.
    """

    runs_last: bool = False

    def on_experiment_start(self, context: Context) -> None:
        """Before the first phase."""

    def on_experiment_end(self, context: Context) -> None:
        """After the last phase; not after a failure."""

    def on_phase_start(self, context: Context) -> None:
        """Before the first epoch of a phase."""

    def on_phase_end(self, context: Context) -> None:
        """After the last epoch of a phase, also when it was stopped early."""

    def on_epoch_start(self, context: Context) -> None:
        """Before the first batch of an epoch."""

    def on_epoch_end(self, context: Context) -> None:
        """After the epoch's metrics are known."""

    def on_batch_start(self, context: Context) -> None:
        """Before the batch goes forward."""

    def on_batch_end(self, context: Context) -> None:
        """After the batch's update, if it had one."""

    def on_exception(self, context: Context) -> None:
        """Once, when the run ends with an exception, Ctrl+C included."""

    def on_rollback(self, context: Context) -> None:
        """The run diverged and continues from an older checkpoint (`on_divergence="rollback"`).

        The graph is as it was there, and may be changed: a smaller learning rate, say. `context.moment` is the checkpoint's.
        """

    def get_state(self) -> dict[str, Any]:
        """What this callback must keep across a resume."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned."""


class EarlyStopping(Callback):
    """Stops a phase when a metric no longer improves, and ends it with its best epoch.

    It keeps a copy of its own of the best graph, optimizer included: the best epoch is restored whatever
    checkpoints are saved. It starts from scratch in each phase.

    Args:
        monitor: name of the metric, read at the end of each epoch.
        patience: how many epochs without improvement stop the phase; at least 1.
        direction: "min" or "max", which way is better.
        min_delta: a change must be larger than this to be an improvement; NaN never is one.
        restore_best: at the end of the phase put the best epoch's state back, also when the phase ran
            through all its epochs.

    Raises:
        UsageError: `patience`, `direction` or `min_delta` is invalid; or, at the end of an epoch,
            there is no such metric.
    """

    runs_last = True

    def __init__(
        self,
        monitor: str,
        patience: int,
        *,
        direction: Direction = "min",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise UsageError(f"patience= must be an integer number of epochs, at least 1, not {patience!r}")
        if direction not in ("min", "max"):
            raise UsageError(f"direction= must be 'min' or 'max', not {direction!r}")
        if not min_delta >= 0 or math.isinf(min_delta):
            raise UsageError(f"min_delta= must be a non-negative number, not {min_delta!r}")
        self.monitor = monitor
        self.patience = patience
        self.direction: Direction = direction
        self.min_delta = min_delta
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.waited = 0
        self.stopped = False
        self._best_state: dict[str, Any] | None = None

    def on_phase_start(self, context: Context) -> None:
        self._forget()

    def on_epoch_end(self, context: Context) -> None:
        value = self._read(context.metrics)
        if self._improves(value):
            self.best, self.best_epoch, self.waited = value, context.moment.epoch, 0
            if self.restore_best and context.graph is not None:
                self._best_state = context.graph.get_state()
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.stopped = True
            context.stop(self._reason(value))

    def on_phase_end(self, context: Context) -> None:
        if self._best_state is not None and context.graph is not None:
            context.graph.set_state(self._best_state)

    def get_state(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "stopped": self.stopped,
            "best_state": self._best_state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.waited, self.stopped = state["waited"], state["stopped"]
        self._best_state = state["best_state"]

    def _read(self, metrics: Mapping[str, float]) -> float:
        if self.monitor not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise UsageError(f"early stopping monitors {self.monitor!r}, and the phase measures {known}")
        return metrics[self.monitor]

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.direction == "min" else value - self.best
        return gain > self.min_delta

    def _reason(self, value: float) -> str:
        epochs = f"{self.waited} epoch{'s' if self.waited > 1 else ''}"
        if self.best is None:
            return f"{self.monitor} was {value} for {epochs}"
        return f"{self.monitor} has not improved for {epochs}: best {self.best:.6g} in epoch {self.best_epoch}, now {value:.6g}"


def in_order(callbacks: Sequence[Callback]) -> list[Callback]:
    """The order in which callbacks run: as given, those that run last after all others."""
    return sorted(callbacks, key=lambda callback: callback.runs_last)
