"""`Held`: one ModularML experiment that saves through Holdfast, and resumes from what it saved.

Each call of `run`, `run_group` or `run_phase` from outside is a *call*; a run is the sequence of its calls. In a
resumed run, calls that were done return what they had returned, and a phase that was done is not run again. The
phase that was interrupted is run by ModularML's own loop, but with the known losses instead of training, up to the
hook at which it was saved. There everything is put back, and from there on it trains.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, final

from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.phases.train_phase import TrainPhase

from ...harness import resume_source
from ...runtime import say_end
from ._finished import Finished
from ._position import Position
from ._results import ids_of
from ._sessions import EXPERIMENT, Sessions, Settings, train_phases
from ._training import Training


@final
class Held:
    """Hears of all that an experiment does: moves its position, and lets its sessions save there.

    Attributes:
        position: where the experiment is.
        sessions: its policies at work, and their directory.
    """

    def __init__(self, experiment: Any, settings: Settings) -> None:
        self.experiment, self._settings = experiment, settings
        self.sessions = Sessions(experiment, settings)
        self.position = Position(experiment, self.sessions, settings.variables)
        self._is_calling, self._began = False, False

    # --- calls --------------------------------------------------------------------------------------

    def call(self, original: Callable[[], Any], units: list[Any]) -> Any:
        """Make a call from outside, or give what it gave before the checkpoint."""
        if self._is_calling or self.experiment._in_callback or self.experiment._checkpointing_disabled:
            return original()
        self.position.call += 1
        with self._calling(units):
            if self.position.is_call_done:
                return self.experiment._history[self.position.call].results
            began = datetime.now()
            try:
                with self.sessions.heeding():
                    result = original()
                    self.position.finish_resume()
                    if self.sessions.directory is not None:
                        self.sessions.directory.writer.wait()
                self._say_end()
            except BaseException as err:
                label = units[0].label if units else self.experiment.label
                # A run that failed is in the history, too, with the results of the phases that were done.
                done, nodes = self.position.finished, self.position.nodes
                self.experiment._history.append(done.entry(label, "failed", began, datetime.now(), nodes))
                self.sessions.rescue(err)
                raise
            return result

    def _say_end(self) -> None:
        directory, report = self.sessions.directory, self.position.last_resume
        if directory is not None:
            began_at = 0 if report is None else report.record.moment.step
            place, step = str(directory.path), self.position.step
            say_end(directory.accounting, step=step, began_at=began_at, place=place)

    @contextmanager
    def _calling(self, units: list[Any]) -> Iterator[None]:
        experiment = self.experiment
        own = experiment._exp_checkpointing
        self._is_calling = self.sessions.is_in_use = True
        try:
            self._begin(units)
            self.position.enter_call()
            if self.sessions.directory is not None:
                self.position.lacking.begin()
                self.position.begin_variables(units)
            if self.sessions.has(EXPERIMENT):
                experiment._exp_checkpointing = _Announcing(self, own)
            yield
        finally:
            self._is_calling = self.sessions.is_in_use = False
            self.position.lacking.close()
            self.position.stack.clear()
            self.position.training = None
            experiment._exp_checkpointing = own
            if self.sessions.directory is not None:
                self.sessions.directory.writer.settle()

    def _begin(self, units: list[Any]) -> None:
        """Before the first call: find the directory, check all policies, resume from what is there."""
        phases = train_phases(self.experiment._exec_plan.all) | train_phases(units)
        if not self._began:
            self.sessions.begin(self.position.run, phases)
            self._began = True
        for path, phase in phases.items():
            self.sessions.add(path, phase)
        if self.position.call == 0 and self.sessions.directory is not None:
            self.position.note_data()
            resume = resume_source(self._settings.resume, self.sessions.directory.path)
            if resume is not None:
                self.position.resume(resume)

    # --- units of the plan --------------------------------------------------------------------------

    def run_group(self, original: Callable[[], Any], group: PhaseGroup) -> Any:
        if not self._is_mine:
            return original()
        is_root = group is self.experiment._exec_plan
        with self._inside([] if is_root else [group.label]):
            return original()

    def run_phase(self, original: Callable[[], Any], phase: Any) -> Any:
        """Run a phase, unless it is done: then what it gave."""
        if not self._is_mine:
            return original()
        with self._inside([phase.label]):
            path = self.position.path
            if path in self.position.finished.phases:
                return self.position.finished.given(path, self.position.nodes)
            self.position.finished.start(path)
            return original()

    def begin_work(self) -> None:
        """What comes next changes something: unless it is the phase that was interrupted, all must be in its place."""
        if self._is_mine and self.position.interrupted(self.position.path) is None:
            self.position.finish_resume()

    def note_results(self, phase: Any, results: Any) -> None:
        """A phase has given these: from now on checkpoints hold them."""
        if not self._is_mine:
            return
        position = self.position
        position.finish_resume()
        losses = None
        if position.training is not None and position.training.path == position.path:
            losses, position.training = position.training.losses, None
        position.finished.note(position.path, phase.label, results, losses, position.labels)

    @contextmanager
    def _inside(self, labels: list[str]) -> Iterator[None]:
        self.position.stack += labels
        try:
            yield
        finally:
            del self.position.stack[len(self.position.stack) - len(labels) :]

    @property
    def _is_mine(self) -> bool:
        """Whether what runs is part of the plan, and not an evaluation in a callback or a preview."""
        return (
            self._is_calling
            and not self.experiment._in_callback
            and not self.experiment._checkpointing_disabled
        )

    # --- a training loop ----------------------------------------------------------------------------

    def enter_loop(self, phase: TrainPhase, results: Any) -> None:
        """A training loop begins. If it was interrupted, it passes over what is done."""
        if not self._is_mine or results is None:
            return
        path = self.position.path
        self.sessions.add(path, phase)
        self.position.training = training = Training(path, phase, results)
        self.position.note_options()
        saved = self.position.interrupted(path)
        if saved is not None:
            training.replay(saved, self.position.nodes)

    def note_batches(self, phase: TrainPhase, executions: list[Any]) -> list[Any]:
        """The samplers have drawn their batches."""
        if self.position.training is not None and self.position.training.phase is phase:
            self.position.training.note_batches(executions)
        return executions

    def train_step(self, original: Callable[[], Any], ctx: Any) -> Any:
        """Train on a batch; or, if that was done before the checkpoint, give its losses."""
        training = self.position.training
        if training is None or not self._is_mine:
            return original()
        at = ctx.epoch_idx, ctx.batch_idx
        if training.is_replaying:
            ctx.losses = training.losses.of(*at, ids_of(self.position.nodes))
            return None
        result = original()
        self.position.step += 1
        training.losses.record(*at, ctx.losses, self.position.labels)
        return result

    def announce(self, phase: TrainPhase, hook: str, epoch: int, batch: int) -> None:
        """The loop is at this hook, callbacks done: save if its policy says so; or finish the resume if it was saved here."""
        training = self.position.training
        if training is None or training.phase is not phase or not self._is_mine:
            return
        at = (hook, epoch, batch)
        if training.is_replaying:
            if training.is_back(at):
                self.position.finish_resume()
            return
        training.hook = at
        self.position.lacking.at(hook)
        if not self.sessions.has(training.path):
            return
        moment = self.position.moment(
            hook,
            training.path,
            epoch=None if hook.startswith("phase") else epoch,
            batch=batch if hook.startswith("batch") else None,
        )
        self.sessions.announce(
            *(training.path, moment, self.position.parts, self.position.ahead), training.metrics
        )

    # --- hooks of the experiment --------------------------------------------------------------------

    def announce_experiment(self, hook: str) -> None:
        """A hook of the experiment's own policy: save if it says so. One that has been is passed over."""
        path = self.position.path or (None if hook.startswith("experiment") else self.experiment.label)
        name = f"{hook} {path or ''}".strip()
        if name in self.position.announced:
            return
        self.position.finish_resume()
        self.position.announced.append(name)
        moment = self.position.moment(hook, path)
        self.sessions.announce(EXPERIMENT, moment, self.position.parts, self.position.ahead, {})

    # --- history ------------------------------------------------------------------------------------

    def enter_history(self, phases: Mapping[str, Any]) -> None:
        """What a checkpoint says of the run that it is of."""
        finished = Finished(phases)
        if times := finished.times:
            label, nodes = self.experiment.label, self.position.nodes
            entry = finished.entry(label, "completed", min(times), max(times), nodes)
            self.experiment._history.append(entry)


class _Announcing:
    """Stands in the experiment's place for its policy while it runs: hears of hooks, and saves by itself."""

    def __init__(self, held: Held, policy: Any) -> None:
        self._held, self._policy = held, policy

    def should_save(self, hook: str) -> bool:
        if self._held._is_mine:
            self._held.announce_experiment(hook)
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)
