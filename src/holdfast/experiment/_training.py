"""The loop of a train phase, which can be left after any hook and entered again there.

The order, always: at a start hook callbacks, then the save; at an end hook
optimizer, scheduler, metrics, callbacks (early stopping last), then the save. Before each save the loop's
own position already says what comes next, so a restored loop simply continues.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..data import ANOTHER_BATCH, BatchSource
from ..errors import UsageError
from ..records import Moment
from ._callbacks import Context
from ._graph import ModelGraph
from ._loss import Averages, outputs_needed, total_loss
from ._measuring import measure, num_samples
from ._phases import TrainPhase
from ._progress import Progress
from ._results import RunResults


class Host(Protocol):
    """What a train phase needs of the run that it belongs to."""

    step: int
    results: RunResults
    progress: Progress

    @property
    def graph(self) -> ModelGraph: ...

    def moment(self, hook: str, path: str | None, epoch: int | None, batch: int | None) -> Moment: ...

    def call(self, moment: Moment, metrics: Mapping[str, float], stop_reason: str | None) -> Context: ...

    def save_if_due(self, moment: Moment, metrics: Mapping[str, float]) -> None: ...

    def finish_unit(self, path: str) -> None: ...

    def at_rest(self, loop: Training) -> AbstractContextManager[None]: ...


class Training:
    """One train phase, being run."""

    def __init__(self, run: Host, phase: TrainPhase, path: str, source: BatchSource) -> None:
        self._run, self._phase, self.path = run, phase, path
        self._source = source
        self._validation = phase.validation_batches()
        self._graph = run.graph
        self._outputs = outputs_needed([*phase.losses, *phase.metrics], run.graph.labels)
        self._result = run.results.begin(path, phase.kind)
        # Where the loop is: all of this is saved.
        self.epoch = 0
        self._in_epoch = False  # between the start of an epoch and its last batch
        self._batch = 0
        self._announced = False  # `batch_start` of this batch has been announced
        self._averages = Averages()
        self._micro_step = 0  # batches whose gradients wait for an update
        self.thaw: list[str] = []  # nodes that this phase froze and must unfreeze, unless it has ended
        self.stop_reason: str | None = None
        self._iterator: Iterator[Mapping[str, Any]] = iter(())
        self._began_s = 0.0

    # --- the loop ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Enter the phase: freeze, announce `phase_start`."""
        self._graph.zero_grad()  # left by a custom step, or by a run that failed
        self.thaw = [label for label in self._phase.freeze if label not in self._graph.frozen]
        self._graph.freeze(*self.thaw)
        self._announce("phase_start")

    def run(self) -> None:
        """Train from where the loop is to the end of the phase."""
        self._graph.train()
        self._run.progress.phase(self.path)
        while self._in_epoch or (self.epoch < self._phase.n_epochs and self.stop_reason is None):
            self._run_epoch()
        self.thaw = [label for label in self.thaw if label in self._graph.frozen]
        self._graph.unfreeze(*self.thaw)
        status = "stopped early" if self.stop_reason else "complete"
        self._result.finish(status, self.stop_reason)
        last = self._result.last
        self._announce("phase_end", metrics={name: last[name] for name in last if name != "epoch"})

    def _run_epoch(self) -> None:
        self._began_s = time.perf_counter()
        if not self._in_epoch:
            self._averages, self._batch, self._in_epoch = Averages(), 0, True
            self._iterator = self._source.begin(self.epoch)
            self._announce("epoch_start", epoch=self.epoch)
        self._run.progress.epoch(self.epoch, self._phase.n_epochs, self._source.num_batches, self._batch)
        num_batches = self._source.num_batches
        while (num_batches is None or self._batch < num_batches) and self.stop_reason is None:
            if num_batches is not None and not self._announced:
                # Before the batch is taken, so that a checkpoint of this hook can take it again.
                self._announced = True
                self._announce("batch_start", epoch=self.epoch, batch=self._batch)
            with self._run.at_rest(self):
                batch = next(self._iterator, None)
            if batch is None:
                break
            if num_batches is None:
                self._announce("batch_start", epoch=self.epoch, batch=self._batch)
            self._announced = False
            self._train(batch)
            batch_index, self._batch = self._batch, self._batch + 1
            self._announce("batch_end", epoch=self.epoch, batch=batch_index)
        self._finish_epoch()

    def _finish_epoch(self) -> None:
        if self._micro_step:
            self._update()
        metrics = self._averages.means()
        if self._validation is not None:
            with self._run.at_rest(self):
                values = measure(
                    self._graph, self._validation, self._phase.losses, self._phase.metrics, self.epoch
                )
            metrics |= {f"val_{name}": value for name, value in values.items()}
        if self._phase.scheduler_step == "epoch":
            self._step_scheduler(metrics)
        self._result.record(self.epoch, metrics, {"seconds": time.perf_counter() - self._began_s})
        epoch, self.epoch = self.epoch, self.epoch + 1
        self._in_epoch, self._announced = False, False
        self._announce("epoch_end", epoch=epoch, metrics=metrics)

    def _train(self, batch: Mapping[str, Any]) -> None:
        samples = num_samples(batch)
        if self._phase.step is not None:
            values = dict(self._phase.step(self._graph, batch))
            self._run.step += 1
        else:
            outputs = self._graph.forward(batch, self._outputs)
            loss, values = total_loss(self._phase.losses, outputs, batch)
            steps().backward(
                self._graph, loss / self._phase.accumulate if self._phase.accumulate > 1 else loss
            )
            values |= {metric.label: metric(outputs, batch) for metric in self._phase.metrics}
            self._micro_step += 1
            if self._micro_step == self._phase.accumulate:
                self._update()
        self._averages.add(values, samples)
        if self._run.progress.is_shown:
            self._run.progress.batch(next(iter(self._averages.means().values()), None))

    def _update(self) -> None:
        self._micro_step = 0
        steps().optimizer_step(self._graph, self._phase.clip_norm)
        self._run.step += 1
        if self._phase.scheduler_step == "batch":
            self._step_scheduler(self._averages.means())

    def _step_scheduler(self, metrics: Mapping[str, float]) -> None:
        name = self._phase.scheduler_metric
        if name is not None and name not in metrics:
            raise UsageError(f"scheduler_metric={name!r} is not measured; there are {', '.join(metrics)}")
        if self._graph.scheduler is not None:
            steps().scheduler_step(self._graph, None if name is None else metrics[name])

    def _announce(
        self,
        hook: str,
        *,
        epoch: int | None = None,
        batch: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        if hook == "phase_end":
            self._run.finish_unit(self.path)
        means = self._averages.means() if metrics is None else metrics
        moment = self._run.moment(hook, self.path, epoch, batch)
        context = self._run.call(moment, means, self.stop_reason)
        self.stop_reason = context.stop_reason
        self._run.save_if_due(context.moment, context.metrics)

    # --- its state --------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Where the loop is and what it keeps, as plain data and arrays."""
        return {
            "path": self.path,
            "epoch": self.epoch,
            "in_epoch": self._in_epoch,
            "batch": self._batch,
            "announced": self._announced,
            "averages": self._averages.get_state(),
            "micro_step": self._micro_step,
            "gradients": _gradients(self._graph),
            "thaw": list(self.thaw),
            "stop_reason": self.stop_reason,
            "callbacks": [callback.get_state() for callback in self._phase.callbacks],
            "data": self._source.get_state(),
            "exactness": self._source.exactness,
            "next_batch": self.next_batch,
            "validation": None if self._validation is None else self._validation.get_state(),
        }

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned. The global random states must be restored after this."""
        self.epoch, self._in_epoch = saved["epoch"], saved["in_epoch"]
        self._batch, self._announced = saved["batch"], saved["announced"]
        self._averages.set_state(saved["averages"])
        self._micro_step = saved["micro_step"]
        self._graph.zero_grad()
        if saved["gradients"]:
            steps().set_gradients(self._graph, saved["gradients"])
        self.thaw = list(saved["thaw"])
        self.stop_reason = saved["stop_reason"]
        for callback, state in zip(self._phase.callbacks, saved["callbacks"], strict=True):
            callback.set_state(state)
        if self._validation is not None and saved["validation"] is not None:
            self._validation.resume(saved["validation"])
        self._iterator = self._source.resume(saved["data"])

    @property
    def next_batch(self) -> str | None:
        """The digest of the indices of the epoch's next batch, if they can be known."""
        return self._source.fingerprint() if self._in_epoch else None

    def reopen(self) -> None:
        """Continue after the phase's end, to which `set_state` led: freeze again what it had frozen."""
        self._graph.freeze(*self.thaw)

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """What keeps the data from resuming exactly; valid once the random states are restored."""
        exactness = saved["exactness"].removeprefix("not exact: ")
        found = [exactness] if exactness != "exact" else []
        found = [f"{self.path}: {each}" for each in (*found, *self._source.differences)]
        if self._in_epoch and saved["next_batch"] != self._source.fingerprint():
            found.append(ANOTHER_BATCH)
        return found


def _gradients(graph: ModelGraph) -> dict[str, Any]:
    """Those that wait for an update: of an accumulation, or whatever a step of the user's left."""
    return steps().gradients(graph) if "torch" in sys.modules else {}


def steps() -> Any:
    """The steps of an optimizer: whoever trains by gradients has torch loaded."""
    from . import _steps

    return _steps
