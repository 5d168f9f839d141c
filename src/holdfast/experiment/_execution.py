"""One run of a plan: where it is, what it saves, and how it resumes from what was saved.

`Execution` keeps the position as three plain facts: the units that are done, those that have been entered
and not left (a phase and the groups around it), and the state of the last training loop. A unit that is
done is skipped; one that was entered is entered again without its start hook.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from .. import rng
from ..data import BatchSource
from ..errors import GraphError, PlanMismatchError
from ..records import Moment
from ..runtime import (
    Ahead,
    ExperimentDirectory,
    Hooks,
    Resumption,
    Session,
    stream_digests,
    streams_used,
)
from ._callbacks import Callback, Context, in_order
from ._graph import ModelGraph
from ._history import HistoryEntry
from ._loss import outputs_needed
from ._measuring import measure
from ._phases import EvalPhase, FitPhase, PhaseGroup, TrainPhase, Unit, walk
from ._progress import Progress
from ._results import RunResults
from ._saving import EXPERIMENT
from ._training import Training


class Plan(Protocol):
    """What an execution needs of the experiment that it runs."""

    label: str
    graph: ModelGraph | None
    callbacks: tuple[Callback, ...]
    history: list[HistoryEntry]

    @property
    def units(self) -> tuple[Unit, ...]: ...

    def describe_plan(self, sources: Mapping[str, BatchSource]) -> dict[str, dict[str, Any]]: ...


class Execution:
    """A run of `experiment`, or of a part of its plan, fresh until `set_state`.

    Args:
        experiment: whose graph, callbacks and label.
        units: what is run, of its plan or not.
        run: the run's id.
        sources: batches for each train phase, by path.
        sessions: who saves for each train phase, by path, and under `EXPERIMENT` for the experiment; may be empty.
        directory: the experiment's directory, held; None without one.
    """

    def __init__(
        self,
        experiment: Plan,
        units: Sequence[Unit],
        run: str,
        sources: Mapping[str, BatchSource],
        sessions: Mapping[str, Session],
        directory: ExperimentDirectory | None,
        progress: Progress,
    ) -> None:
        self.experiment, self.units = experiment, units
        self._by_path = dict(walk(units))
        self.run = run
        self.results = RunResults(run)
        self.progress = progress
        self.directory = directory
        self.step = 0
        self.moment_now: Moment = self.moment("experiment_start", None)
        self.sources, self.sessions = sources, sessions
        self.done: list[str] = []
        self.entered: list[str] = []
        self._loop: Training | None = None
        self.saved_loop: Mapping[str, Any] | None = None  # of the checkpoint that this run resumed from
        self._saved_streams: Mapping[str, Any] | None = None
        self.resumption: Resumption | None = None
        self._streams_at_start = stream_digests(rng.capture_state())
        self.options = [] if experiment.graph is None else experiment.graph.options
        self._hooks = Hooks(directory)
        self._reopened: str | None = None  # a finished phase that continues

    @property
    def graph(self) -> ModelGraph:
        if self.experiment.graph is None:
            raise GraphError(
                f"experiment {self.experiment.label!r} has no model graph, and its plan needs one"
            )
        return self.experiment.graph

    # --- running ----------------------------------------------------------------------------------

    def run_plan(self) -> None:
        """Run an entire plan, between the experiment's own hooks."""
        if EXPERIMENT in self.done:
            self._settle()
            return
        if EXPERIMENT not in self.entered:
            self.entered.append(EXPERIMENT)
            self._announce("experiment_start", None)
        self.run_units(self.units)
        self._settle()
        self.results.status = "complete"
        self.finish_unit(EXPERIMENT)
        self._announce("experiment_end", None)

    def run_part(self) -> None:
        """Run the units by themselves; one that diverged cannot be rolled back, because a resume cannot lead into a part."""
        self.run_units(self.units)
        self.look()

    def run_units(self, units: Sequence[Unit], above: str = "") -> None:
        """Run these units in order, except those that are done."""
        for unit in units:
            path = f"{above}/{unit.label}" if above else unit.label
            if path in self.done:
                continue
            if isinstance(unit, PhaseGroup):
                self._run_group(unit, path)
            elif isinstance(unit, TrainPhase):
                self._train(unit, path)
            else:
                self._run_once(unit, path)

    def _run_group(self, group: PhaseGroup, path: str) -> None:
        if path not in self.entered:
            self._settle()
            self.entered.append(path)
            self.save_if_due(self.moment("group_start", path), {})
        self.run_units(group.units, path)
        self.finish_unit(path)
        self.save_if_due(self.moment("group_end", path), {})

    def _train(self, phase: TrainPhase, path: str) -> None:
        saved = self.saved_loop
        if path in self.entered and saved is not None and saved["path"] == path:
            self._loop = Training(self, phase, path, self.sources[path])
            self._loop.set_state(saved)
            if path == self._reopened:
                self._loop.reopen()
            self._settle()
        else:
            self._settle()
            self.entered.append(path)
            if path in self.sessions:
                self.sessions[path].policy.reset()
            self._loop = Training(self, phase, path, self.sources[path])
            self._loop.start()
        self._loop.run()

    def _run_once(self, phase: EvalPhase | FitPhase, path: str) -> None:
        self._settle()
        if path not in self.entered:
            self.entered.append(path)
            self._announce("phase_start", path)
        result = self.results.begin(path, phase.kind)
        self.progress.phase(path)
        began_s = time.perf_counter()
        if isinstance(phase, EvalPhase):
            kept: dict[str, Any] = {}
            metrics = measure(
                self.graph, phase.batches(), phase.losses, phase.metrics, keep=phase.predictions, kept=kept
            )
            result.predictions = kept or None
        else:
            metrics = self._fit(phase)
        result.record(0, metrics, {"seconds": time.perf_counter() - began_s})
        result.finish("complete")
        self.finish_unit(path)
        self._announce("phase_end", path, metrics)

    def _fit(self, phase: FitPhase) -> dict[str, float]:
        columns = {name: phase.data[name] for name in phase.data.columns}
        self.graph.fit_node(phase.node, columns, phase.target)
        with self.graph.evaluating():
            outputs = self.graph.forward(columns, outputs_needed(phase.metrics, self.graph.labels))
            return {metric.label: float(metric(outputs, columns)) for metric in phase.metrics}

    # --- hooks ------------------------------------------------------------------------------------

    def moment(
        self, hook: str, path: str | None, *, epoch: int | None = None, batch: int | None = None
    ) -> Moment:
        return Moment(run=self.run, hook=hook, phase=path, epoch=epoch, batch=batch, step=self.step)

    def finish_unit(self, path: str) -> None:
        """From now on a checkpoint says that this unit is done."""
        self.entered.remove(path)
        self.done.append(path)

    def call(
        self,
        hook: str,
        path: str | None,
        *,
        epoch: int | None = None,
        batch: int | None = None,
        metrics: Mapping[str, float] | None = None,
        stop_reason: str | None = None,
    ) -> Context:
        """Call this hook of the callbacks of the experiment and of the unit at this path; returns what they got."""
        self.moment_now = self.moment(hook, path, epoch=epoch, batch=batch)
        context = self._context(self.moment_now, metrics=dict(metrics or {}), stop_reason=stop_reason)
        self._hooks.prepare(hook)
        for callback in self._callbacks_at(path):
            getattr(callback, f"on_{hook}")(context)
        return context

    def _callbacks_at(self, path: str | None) -> list[Callback]:
        own = getattr(self._by_path.get(path or EXPERIMENT), "callbacks", ())
        return in_order([*self.experiment.callbacks, *own])

    def _context(self, moment: Moment, **facts: Any) -> Context:
        graph, results = self.experiment.graph, self.results
        return Context(experiment=self.experiment.label, moment=moment, graph=graph, results=results, **facts)

    def save_if_due(self, moment: Moment, metrics: Mapping[str, float]) -> None:
        """Count this hook in every policy that names it, then save where one is due."""
        self.moment_now = moment
        own = dict.fromkeys([self.sessions.get(moment.phase or EXPERIMENT), self.sessions.get(EXPERIMENT)])
        self._hooks.announce(
            moment,
            [session for session in own if session is not None],
            self.parts,
            ahead=self.ahead,
            metrics={name: float(value) for name, value in metrics.items()},
            losses=self._losses(moment),
            watching=[*self.sessions.values()],
        )

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Note the signals that the policies name while the run lasts; surface what saves have raised at its end."""
        if self.directory is None:
            yield
            return
        with self.directory.calls.heeding([session.policy for session in self.sessions.values()]):
            yield
            self.directory.writer.wait()

    @contextmanager
    def at_rest(self, loop: Training) -> Iterator[None]:
        """Inside, nothing in a checkpoint changes except random states: data are read, or measured on.

        If it raises, and a policy says so, the run is saved as it was before.
        """
        own = [one for path in (loop.path, EXPERIMENT) if (one := self.sessions.get(path))]
        with self._hooks.at_rest(own, self.moment_now, self.parts, lambda: {"phase": loop.get_state()}):
            yield

    def _losses(self, moment: Moment) -> list[str]:
        """The names of the losses of the phase at this moment, trained and validated on."""
        losses = getattr(self._by_path.get(moment.phase or EXPERIMENT), "losses", ())
        labels = [loss.label for loss in losses]
        return [*labels, *(f"val_{label}" for label in labels)]

    def look(self) -> None:
        """At the end of the plan: raise DivergenceError if what was saved last is not finite."""
        self._hooks.look_at_end([*self.sessions.values()], self.moment_now)

    def begin_again(self, sources: Mapping[str, BatchSource]) -> None:
        """Forget the position of this run: that of a checkpoint is about to be restored."""
        self.sources, self._loop, self._reopened = sources, None, None

    def tell_rollback(self, moment: Moment) -> None:
        """Call `on_rollback` of the experiment's callbacks, and of those of the phase that continues from `moment`."""
        context = self._context(moment)
        for callback in self._callbacks_at(moment.phase):
            callback.on_rollback(context)

    def _announce(self, hook: str, path: str | None, metrics: Mapping[str, float] | None = None) -> None:
        context = self.call(hook, path, metrics=metrics)
        self.save_if_due(context.moment, context.metrics)

    def fail(self, error: BaseException) -> None:
        """The run has ended with this exception: record it in the results, and tell the callbacks."""
        path = self.moment_now.phase
        self.results.status = "failed"
        if path is not None and path in self.results:
            self.results[path].finish("failed", f"{type(error).__name__}: {error}")
        context = self._context(self.moment_now, exception=error)
        self._hooks.rescue(error, [*self.sessions.values()])
        for callback in self._callbacks_at(path):
            callback.on_exception(context)

    def leave(self) -> None:
        """Unfreeze what an entered but unfinished phase froze."""
        froze: Sequence[str] = ()
        if self._loop is not None and self._loop.path in self.entered:
            froze = self._loop.froze
        elif self._loop is None and self.saved_loop is not None and self.saved_loop["path"] in self.entered:
            froze = self.saved_loop["thaw"]
        if froze:
            self.graph.unfreeze(*(label for label in froze if label in self.graph.frozen))

    # --- state ------------------------------------------------------------------------------------

    @property
    def excluded(self) -> tuple[str, ...]:
        """What the policies of this run leave out of its checkpoints: patterns of state paths."""
        patterns = (pattern for session in self.sessions.values() for pattern in session.policy.exclude)
        return tuple(dict.fromkeys(patterns))

    def ahead(self) -> Ahead:
        """What comes next: the batch, and the generators of the data of phases that are not done."""
        generators = {
            f"{path}: {name}": generator
            for path, source in self.sources.items()
            if path not in self.done
            for name, generator in source.generators.items()
        }
        return Ahead(None if self._loop is None else self._loop.next_batch, generators)

    def parts(self) -> dict[str, Any]:
        """What a checkpoint of this run holds, by name."""
        parts: dict[str, Any] = {} if self.experiment.graph is None else {"model_graph": self.graph}
        return parts | {
            "run": {
                "id": self.run,
                "label": self.experiment.label,
                "step": self.step,
                "streams_at_start": self._streams_at_start,
                "options": self.options,
                "done": list(self.done),
                "entered": list(self.entered),
                "pending": [[reason, moment.hook, moment.phase] for reason, moment in self._hooks.pending],
            },
            "plan": self.experiment.describe_plan(self.sources),
            "phase": self.saved_loop if self._loop is None else self._loop.get_state(),
            "results": self.results.get_state(),
            "callbacks": {
                path: [callback.get_state() for callback in callbacks]
                for path, callbacks in self._callbacks_ahead().items()
            },
            "data": {path: self.sources[path].get_state() for path in self.sources if self._is_ahead(path)},
            "counters": {path: session.policy.get_counters() for path, session in self.sessions.items()},
            "history": [entry.get_state() for entry in self.experiment.history],
            "random": rng.capture_state(),
        }

    def digest_parts(self) -> dict[str, Any]:
        """What two runs of one plan have in common at the same position; without times, ids and paths.

        Random states from which nothing was drawn are left out too: their seeds are arbitrary.
        """
        parts: dict[str, Any] = {} if self.experiment.graph is None else {"model_graph": self.graph}
        return parts | {
            "position": {"done": list(self.done), "entered": list(self.entered), "step": self.step},
            "results": self.results.get_state(timings=False),
            "callbacks": [callback.get_state() for callback in self.experiment.callbacks],
            "random": streams_used(rng.capture_state(), self._streams_at_start),
        }

    def set_state(self, saved: Mapping[str, Any], id: str) -> None:
        """Restore the position of a checkpoint of run `id`; the graph has been restored by then."""
        run = saved["run"]
        self.run, self.step = id, run["step"]  # the id that was saved is of the run before, if this is a fork
        self._streams_at_start = dict(run["streams_at_start"])
        self.done, self.entered = list(run["done"]), list(run["entered"])
        self._hooks.pending = [(reason, self.moment(hook, phase)) for reason, hook, phase in run["pending"]]
        self.results.set_state(saved["results"])
        self.results.run = id
        for path, callbacks in self._callbacks_ahead().items():
            kept = saved["callbacks"].get(path, ())
            if len(kept) == len(callbacks):  # a phase that had not begun may have new callbacks
                for callback, each in zip(callbacks, kept, strict=True):
                    callback.set_state(each)
        plan = self.experiment.describe_plan(self.sources)
        for path, kept in saved["data"].items():
            # Its generators: another phase's loader may share them, or have drawn their seed.
            if path in self.sources and plan[path]["data"] == saved["plan"][path]["data"]:
                self.sources[path].resume(kept)
        self.saved_loop = saved["phase"]
        self._saved_streams = saved["random"]

    def check_callbacks(self, saved: Mapping[str, Any]) -> None:
        """The saved states of the experiment's callbacks must fit its callbacks.

        Raises:
            PlanMismatchError: their number differs.
        """
        before, now = len(saved["callbacks"][EXPERIMENT]), len(self.experiment.callbacks)
        if before != now:
            raise PlanMismatchError([f"the experiment had {before} callbacks and has {now}"])

    def _callbacks_ahead(self) -> dict[str, Sequence[Callback]]:
        """Those of the experiment and of phases to come, which may be the same as those of phases before."""
        ahead = {
            path: unit.callbacks
            for path, unit in walk(self.experiment.units)
            if isinstance(unit, TrainPhase) and self._is_ahead(path)
        }
        return {EXPERIMENT: self.experiment.callbacks, **ahead}

    def _is_ahead(self, path: str) -> bool:
        """Whether this train phase has not begun."""
        return path not in self.done and (self._loop is None or path != self._loop.path)

    def reopen(self, path: str) -> None:
        """Enter a finished phase again, and the groups around it: there are more epochs to run."""
        self._reopened, self.results.status = path, "running"
        for above in [EXPERIMENT, *_prefixes(path)]:
            if above in self.done:
                self.done.remove(above)
                self.entered.append(above)

    def _settle(self) -> None:
        """The last act of a resume: random states, and saves that were still due."""
        if self._saved_streams is None:
            return
        rng.restore_state(dict(self._saved_streams))
        self._saved_streams = None
        if self.resumption is not None and self.directory is not None:
            loop, saved = self._loop, self.saved_loop
            found = [] if loop is None or saved is None else loop.differences(saved)
            self.resumption.announce(self.ahead, found, self.directory.rollbacks)
        pending, self._hooks.pending = self._hooks.pending, []
        if (own := self.sessions.get(EXPERIMENT)) is not None:
            for reason, moment in pending:
                own.save(moment, self.parts, reason=reason, metrics={}, ahead=self.ahead)


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
