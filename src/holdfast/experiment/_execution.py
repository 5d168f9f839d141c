"""One run of a plan: it calls the hooks, saves where a policy says so, and continues from where its position is.

A unit that is done is skipped; one that was entered is entered again without its start hook.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from .. import rng, state
from ..records import Moment
from ..runtime import say_end
from ._callbacks import Callback, Context, in_order
from ._loss import outputs_needed
from ._measuring import measure
from ._phases import EvalPhase, FitPhase, PhaseGroup, TrainPhase, Unit
from ._position import Position
from ._saving import EXPERIMENT
from ._training import Training


class Execution(Position):
    """Runs the units of its position that are not done."""

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

    def check_savable(self) -> None:
        """Before training: fail if something that a policy is to save cannot be saved. Nothing is copied.

        Raises:
            UnsupportedStateError: it names the path and the type.
        """
        for exclude in {session.policy.exclude for session in self.sessions.values()}:
            state.look(self.parts(), exclude=exclude)

    # --- hooks ------------------------------------------------------------------------------------

    def call(self, moment: Moment, metrics: Mapping[str, float], stop_reason: str | None = None) -> Context:
        """Call the hook of this moment of the callbacks of the experiment and of the unit there; returns what they got."""
        self.moment_now = moment
        context = self._context(moment, metrics=dict(metrics), stop_reason=stop_reason)
        self._hooks.prepare(moment.hook)
        for callback in self._callbacks_at(moment.phase):
            getattr(callback, f"on_{moment.hook}")(context)
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
        self.lacking.at(moment.hook)
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
        """Note the signals that the policies name while the run lasts; at its end surface what saves have raised, and say it."""
        if self.directory is None:
            yield
            return
        self.variables.begin()
        with (
            closing(self.variables),
            closing(self.lacking),
            self.directory.calls.heeding([session.policy for session in self.sessions.values()]),
        ):
            self.lacking.begin()
            yield
            self.directory.writer.wait()
        began_at = 0 if self.resumption is None else self.resumption.report.record.moment.step
        say_end(self.directory.accounting, step=self.step, began_at=began_at, place=str(self.directory.path))

    @contextmanager
    def at_rest(self, loop: Training) -> Iterator[None]:
        """Inside, nothing in a checkpoint changes except random states, as while data are read; see `Hooks.at_rest`."""
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

    def tell_rollback(self, moment: Moment) -> None:
        """Call `on_rollback` of the experiment's callbacks, and of those of the phase that continues from `moment`."""
        context = self._context(moment)
        with self.variables.changes_win():
            for callback in self._callbacks_at(moment.phase):
                callback.on_rollback(context)

    def _announce(self, hook: str, path: str | None, metrics: Mapping[str, float] | None = None) -> None:
        context = self.call(self.moment(hook, path), metrics or {})
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

    def _settle(self) -> None:
        """The last act of a resume: random states, and saves that were still due."""
        if self._saved_streams is None:
            return
        self.variables.put_back()
        rng.restore_state(dict(self._saved_streams))
        self._saved_streams = None
        if self.resumption is not None and self.directory is not None:
            loop, saved = self._loop, self.saved_loop
            found = [] if loop is None or saved is None else loop.differences(saved)
            found = [*found, *self.elsewhere, *self.variables.differences]
            self.resumption.announce(self.ahead, found, self.directory.rollbacks, self.variables.came_back)
        pending, self._hooks.pending = self._hooks.pending, []
        if (own := self.sessions.get(EXPERIMENT)) is not None:
            for reason, moment in pending:
                own.save(moment, self.parts, reason=reason, metrics={}, ahead=self.ahead)
