"""`Experiment`: a plan of phases on one model graph, that can be killed at any instant and resumed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import bundle, rng, state
from ..checkpoint import Checkpoint, Place, locate, scan_if_there
from ..checkpoint import open as open_checkpoint
from ..data import BatchSource
from ..errors import DivergenceError, UsageError
from ..harness import place, resume_source
from ..policy import Checkpointing, attach_to_experiment, check_label, check_name, directory_path
from ..runtime import (
    Accounting,
    ExperimentDirectory,
    Origin,
    Resume,
    ResumeReport,
    Session,
    save_manually,
)
from . import _plan, _resume, _saving
from ._callbacks import Callback
from ._execution import Execution
from ._graph import ModelGraph
from ._history import HistoryEntry
from ._phases import Phase, PhaseGroup, Unit, walk
from ._preview import kept_as_it_is
from ._progress import Progress
from ._results import PhaseResult, RunResults

_CANNOT = {"strict": "a phase cannot resume with a part of its model graph, so the graph must fit"}


class Experiment:
    """Phases and groups on a model graph, run in order, saved by policies, and resumed exactly.

    Args:
        label: its name; checkpoints of the entire experiment are named after the unit just run.
        graph: the models; None for a plan that needs none.
        directory: where checkpoints go, a folder per phase; else that of `checkpointing`.
        checkpointing: saves the entire experiment, results so far included, at the experiment hooks; to disk.
        callbacks: run at the hooks of the experiment and of every phase, before the phase's own.

    Attributes:
        history: what was run, with its status; goes with the checkpoints.
        last_resume: where the last `run(resume=…)` resumed from, and how exactly; None if from scratch.
        accounting: what saving has cost in the last run, or has in this one so far: saves, seconds blocked,
            bytes, and the work that would be lost now.

    Raises:
        UsageError: an invalid label or policy.
    """

    def __init__(
        self,
        label: str,
        graph: ModelGraph | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        checkpointing: Checkpointing | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.label = check_label(label)
        self.graph = graph
        self.callbacks = tuple(callbacks)
        self.history: list[HistoryEntry] = []
        self.last_resume: ResumeReport | None = None
        self.accounting = Accounting()
        self.results = RunResults("")
        self._own_directory = None if directory is None else directory_path("directory", directory)
        self._units: list[Unit] = []
        self._disabled = False
        self._execution: Execution | None = None
        self.checkpointing: Checkpointing | None = None
        self.set_checkpointing(checkpointing)

    # --- the plan ---------------------------------------------------------------------------------

    def add(self, *units: Unit) -> Experiment:
        """Append phases or groups to the plan.

        Raises:
            UsageError: a label is used twice; nothing was added.
        """
        units_then = [*self._units, *units]
        _plan.check_labels(units_then)
        self._units = units_then
        return self

    @property
    def units(self) -> tuple[Unit, ...]:
        """The plan: phases and groups in order."""
        return tuple(self._units)

    @property
    def directory(self) -> Path | None:
        """Where the experiment's checkpoints are."""
        given = self._own_directory
        if given is None and self.checkpointing is not None:
            given = self.checkpointing.directory
        return None if given is None else Path(place(given))

    def set_checkpointing(self, checkpointing: Checkpointing | None) -> None:
        """Save the entire experiment by this policy from the next run on; None: not at all."""
        self.checkpointing = None if checkpointing is None else attach_to_experiment(checkpointing)

    def disable_checkpointing(self) -> _Enabling:
        """Save nothing from now on; in a `with` statement, only inside the block."""
        ending = _Enabling(self, disabled_before=self._disabled)
        self._disabled = True
        return ending

    def describe_plan(self, sources: Mapping[str, BatchSource]) -> dict[str, dict[str, Any]]:
        """The plan as plain data, by path; a checkpoint holds it, and a resume compares it."""
        return _plan.describe(self._units, sources)

    # --- running ----------------------------------------------------------------------------------

    def run(
        self,
        resume: bool | Place | Resume = False,
        *,
        progress: bool = True,
        share_directory: bool = False,
    ) -> RunResults:
        """Run the plan, from the beginning or from a checkpoint.

        Args:
            resume: False: from the beginning. True: from the newest complete checkpoint, whatever phase saved
                it; from the beginning if there is none. A path or name: from that checkpoint. `Resume(…,
                override="lr")`: with options of the optimizer for which the script's values win.
            progress: show a line per phase if the output is a terminal.
            share_directory: run even if another live run uses the directory.

        Raises:
            UsageError: the plan cannot be run or saved as asked; nothing has been trained.
            CheckpointExistsError: a policy with `overwrite=False` would need a name that is taken.
            RunActiveError: another live run uses the directory.
            DamagedError: no checkpoint can be used.
            DivergenceError: the training state is no longer finite, and a policy says to stop.
            PlanMismatchError, StateMismatchError: the checkpoint belongs to another plan or graph.
        """
        asked = Resume.of(resume, cannot=_CANNOT)
        origin = resume_source(asked.origin, self.directory)
        sources = _plan.prepare(self._units, self.graph, self.label)
        run = secrets.token_hex(16)
        places = self._places(self._units, reads=origin is not None)
        with _saving.held(places, run, share=share_directory) as directory, Progress(progress) as bar:
            sessions = self._sessions(self._units, directory, as_plan=True)
            self._leave_last()
            execution = Execution(self, run, sources, sessions, directory, bar)
            self.last_resume = None
            entry = HistoryEntry(run, "experiment")
            if origin is not None:
                entry = self._resume(execution, sessions, origin, asked.overridden) or entry
            if self.last_resume is None:
                for session in sessions.values():
                    session.policy.reset()
            _saving.refuse_taken(self._units, sessions, sources, execution.done, execution.run)
            return self._execute(execution, entry, self._units, lambda: self._run_plan(execution, sessions))

    def run_phase(self, phase: Phase | str, *, progress: bool = True) -> PhaseResult:
        """Run one phase now, whether or not it is in the plan, on the current graph; saves by its policy.

        Raises: as `run`.
        """
        unit = self._unit(phase)
        if isinstance(unit, PhaseGroup):
            raise UsageError(f"{unit.label!r} is a group; use run_group")
        return self._run_part(unit, progress)[unit.label]

    def run_group(self, group: PhaseGroup | str, *, progress: bool = True) -> RunResults:
        """Run one group now, whether or not it is in the plan, on the current graph; saves by its phases' policies.

        Raises: as `run`.
        """
        return self._run_part(self._unit(group), progress)

    def preview_phase(self, phase: Phase | str, *, progress: bool = False) -> PhaseResult:
        """Run a phase to see its results, then restore everything, even if it fails; saves nothing."""
        unit = self._unit(phase)
        return self._preview(unit, progress)[unit.label]

    def preview_group(self, group: PhaseGroup | str, *, progress: bool = False) -> RunResults:
        """Run a group to see its results, then restore everything, even if it fails; saves nothing."""
        return self._preview(self._unit(group), progress)

    def _run_part(self, unit: Unit, progress: bool) -> RunResults:
        units = [unit]
        sources = _plan.prepare(units, self.graph, self.label)
        run = secrets.token_hex(16)
        with _saving.held(self._places(units), run) as directory, Progress(progress) as bar:
            sessions = self._sessions(units, directory)
            _saving.refuse_taken(units, sessions, sources, (), run)
            self._leave_last()
            execution = Execution(self, run, sources, sessions, directory, bar)
            entry = HistoryEntry(run, unit.label)
            return self._execute(execution, entry, units, lambda: execution.run_part(units))

    def _preview(self, unit: Unit, progress: bool) -> RunResults:
        sources = _plan.prepare([unit], self.graph, self.label)
        own = [callback for _, part in walk([unit]) for callback in getattr(part, "callbacks", ())]
        kept = kept_as_it_is(self.graph, [*self.callbacks, *own], [*sources.values()])
        with kept, Progress(progress) as bar:
            self._leave_last()
            execution = Execution(self, secrets.token_hex(16), sources, {}, None, bar)
            execution.run_units([unit])
            return execution.results

    def _leave_last(self) -> None:
        """Unfreeze what a failed phase left frozen. Not done when it fails: a checkpoint saved on
        request after that must still say how the phase continues."""
        if self._execution is not None:
            self._execution.leave()

    def _execute(
        self, execution: Execution, entry: HistoryEntry, units: Sequence[Unit], run: Callable[[], None]
    ) -> RunResults:
        self._execution, self.results = execution, execution.results
        if entry not in self.history:
            self.history.append(entry)
        entry.status, entry.reason = "running", None
        if execution.directory is not None:
            self.accounting = execution.directory.accounting
        try:
            with execution.heeding():
                run()
        except BaseException as err:
            entry.fail(err)
            execution.fail(err, units)
            raise
        finally:
            if execution.directory is not None:
                execution.directory.writer.settle()
        entry.status = "complete"
        return self.results

    def _resume(
        self,
        execution: Execution,
        sessions: Mapping[str, Session],
        resume: Origin,
        override: Sequence[str] | None,
    ) -> HistoryEntry | None:
        directory = execution.directory
        if directory is None:
            raise UsageError(f"experiment {self.label!r} has no directory to resume from: pass directory=")
        plan = self.describe_plan(execution.sources)
        found = _resume.load(
            execution,
            directory,
            self._units,
            plan,
            self.graph,
            resume,
            override,
            finite_only=any(each.watch.shuns_infinity for each in sessions.values()),
        )
        if found is None:
            return None
        execution.resumption, saved = found
        self.last_resume = execution.resumption.report
        own = directory.own()
        for path, session in sessions.items():
            session.resume(saved["counters"].get(path, {}), own, self.last_resume.record)
        self.history = [HistoryEntry.from_state(each) for each in saved["history"]]
        entry = next((each for each in self.history if each.run == execution.run), None)
        if entry is None:  # the first run of a fork
            entry = HistoryEntry(execution.run, "experiment")
        entry.resumed_from.append(self.last_resume.record.name)
        return entry

    def _run_plan(self, execution: Execution, sessions: Mapping[str, Session]) -> None:
        """Run the plan to its end, rolling back where a policy says so."""
        while True:
            try:
                execution.run_plan(self._units)
                execution.look()
            except DivergenceError as err:
                if not err.can_roll_back:
                    raise
                self._roll_back(execution, sessions, err)
            else:
                return

    def _roll_back(self, execution: Execution, sessions: Mapping[str, Session], why: DivergenceError) -> None:
        directory = execution.directory
        assert directory is not None
        aim = directory.rollbacks.begin(why, directory.disk)
        execution.begin_again(_plan.prepare(self._units, self.graph, self.label))
        history = self.history  # this run's entry stays the one that records how it ended
        self._resume(execution, sessions, aim, None)
        self.history = history
        assert self.last_resume is not None
        for entry in history:
            if entry.run == execution.run:
                entry.resumed_from.append(self.last_resume.record.name)
        execution.tell_rollback(self._units)

    def _places(self, units: Sequence[Unit], *, reads: bool = False) -> list[Path]:
        """The directories that a run of these units saves to (or reads from), the experiment's first."""
        places = [] if self._disabled else [*_saving.folders(units, self.directory).values()]
        saves = places or (self.checkpointing is not None and not self._disabled)
        return [self.directory, *places] if self.directory is not None and (saves or reads) else places

    def _sessions(
        self, units: Sequence[Unit], directory: ExperimentDirectory | None, *, as_plan: bool = False
    ) -> dict[str, Session]:
        if self._disabled:
            return {}
        policy = self.checkpointing if as_plan else None
        return _saving.sessions(units, policy, self.label, self.directory, directory)

    def _unit(self, given: Unit | str) -> Unit:
        if not isinstance(given, str):
            return given
        units = dict(walk(self._units))
        by_label = {unit.label: unit for unit in units.values()}
        if given not in units and given not in by_label:
            raise UsageError(f"there is no {given!r} in the plan; there are {', '.join(units) or 'none'}")
        return units.get(given) or by_label[given]

    # --- manual checkpoints -----------------------------------------------------------------------

    def save_checkpoint(self, name: str, *, overwrite: bool = True) -> Path:
        """Save the entire experiment as it is now, results so far included; returns the bundle's path.

        Raises:
            UsageError: the experiment has no directory, or the name cannot be one.
            CheckpointExistsError: the name is taken and `overwrite` is False.
            SaveError: the disk refused.
        """
        check_name(name)
        if self.directory is None:
            raise UsageError(f"experiment {self.label!r} has no directory to save to: pass directory=")
        execution = self._execution or self._fresh_execution()
        with self._at_hand(execution) as directory:
            return save_manually(
                directory,
                str(self.directory),
                name,
                execution.parts(),
                kind="experiment",
                moment=execution.moment_now,
                overwrite=overwrite,
                ahead=execution.ahead(),
            )

    def restore_checkpoint(self, name: Place) -> Checkpoint:
        """Restore everything from a checkpoint: graph, optimizer, random states, results, history.

        `name` is a path, or a name such as `pretrain/pretrain_epoch2`. All bytes are checked before anything
        changes. To resume from there, use `run(resume=name)`.

        Raises:
            CheckpointNotFoundError: there is none of that name.
            DamagedError, StateMismatchError, PlanMismatchError: it is unusable; nothing was changed.
        """
        execution = self._fresh_execution()
        where = None if self.directory is None else str(self.directory)
        opened = open_checkpoint(locate(name, directory=where))
        saved = _resume.read(opened.source)
        _resume.check_owner(execution, opened.source, saved)
        if self.graph is not None:
            opened.restore({"model_graph": self.graph})
        execution.set_state(saved, opened.record.run)
        rng.restore_state(saved["random"])
        self.history = [HistoryEntry.from_state(each) for each in saved["history"]]
        self._execution, self.results = execution, execution.results
        return opened

    @property
    def available_checkpoints(self) -> dict[str, Path]:
        """What there is to restore: names such as `pretrain/pretrain_epoch2`, oldest first, and their paths."""
        own = self.directory
        places: list[Path] = [own] if own else []
        places += _saving.folders(self._units, own).values()
        found = {
            listed.path: listed for folder in places for listed in scan_if_there(folder) if listed.record
        }
        paths = [Path(listed.path) for listed in sorted(found.values(), key=bundle.by_age)]
        return {self._name_of(path): path for path in paths}

    def _name_of(self, path: Path) -> str:
        inside = self.directory is not None and path.is_relative_to(self.directory)
        name = path.relative_to(self.directory) if inside and self.directory else path
        return str(name).removesuffix(bundle.SUFFIX)

    def _fresh_execution(self) -> Execution:
        return Execution(self, secrets.token_hex(16), {}, {}, None, Progress(False))

    @contextmanager
    def _at_hand(self, execution: Execution) -> Iterator[ExperimentDirectory]:
        """The directory that the current run holds, or held briefly."""
        if execution.directory is not None and execution.directory.is_open:
            yield execution.directory
            return
        assert self.directory is not None
        with ExperimentDirectory(self.directory, execution.run) as directory:
            if execution.directory is not None:
                directory.pace = execution.directory.pace  # which the run stopped when it ended
            yield directory

    def state_digest(self) -> str:
        """BLAKE3 of all that two runs of one plan have in common: models, optimizers, position, results, random states.

        Times, ids and paths are not part of it, nor is what was saved, nor random states from which nothing was drawn.
        """
        execution = self._execution or self._fresh_execution()
        return state.digest(state.capture(execution.digest_parts()))


class _Enabling:
    """Ends what `disable_checkpointing` began."""

    def __init__(self, experiment: Experiment, *, disabled_before: bool) -> None:
        self._experiment, self._before = experiment, disabled_before

    def __enter__(self) -> None: ...

    def __exit__(self, *details: object) -> None:
        self._experiment._disabled = self._before
