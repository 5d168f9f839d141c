"""`Experiment`: a plan of phases on one model graph, that can be killed at any instant and resumed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .. import rng, state
from ..checkpoint import Checkpoint, Place, locate
from ..checkpoint import open as open_checkpoint
from ..data import BatchSource
from ..errors import DivergenceError, UsageError
from ..harness import place, resume_source
from ..policy import Checkpointing, attach_to_experiment, check_label, check_name, directory_path, flag
from ..runtime import (
    CANNOT_PROVE,
    Accounting,
    Origin,
    Resume,
    ResumeReport,
    save_manually,
)
from ..variables import Mode, check_mode, check_patterns
from . import _plan, _resume, _saving
from ._callbacks import Callback
from ._execution import Execution
from ._graph import ModelGraph
from ._phases import Phase, PhaseGroup, Unit, walk
from ._preview import kept_as_it_is
from ._progress import Progress
from ._results import HistoryEntry, PhaseResult, RunResults

_CANNOT = {
    "strict": "a phase cannot resume with a part of its model graph, so the graph must fit",
    "prove": CANNOT_PROVE,
    "on_structure": "the structure of a graph is that of its plan; freeze and unfreeze nodes by phases",
}


class Experiment:
    """Phases and groups on a model graph, run in order, saved by policies, and resumed exactly.

    Args:
        label: its name; checkpoints of the entire experiment are named after the unit just run.
        graph: the models; None for a plan that needs none.
        directory: where checkpoints go, a folder per phase; else that of `checkpointing`.
        checkpointing: saves the entire experiment, results so far included, at the experiment hooks; to disk.
        callbacks: run at the hooks of the experiment and of every phase, before the phase's own.
        variables: "save": variables of the script that change while it runs are saved and put back, too, and those that
            cannot be are named. "watch": all of them are only named. "off": they are the script's affair.

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
        variables: Mode = "save",
    ) -> None:
        self.variables: Mode = check_mode(variables)
        self.ignored: list[str] = []
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

    def ignore(self, *patterns: str) -> None:
        """Leave variables of the script to the script, such as `ignore("t0", "timing_*")`: neither saved nor named.

        Raises:
            UsageError: a pattern is not a name.
        """
        self.ignored += check_patterns(patterns)

    def disable_checkpointing(self) -> AbstractContextManager[object]:
        """Save nothing from now on; in a `with` statement, only inside the block."""
        ending = ExitStack()
        ending.callback(setattr, self, "_disabled", self._disabled)
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
        flag("share_directory", share_directory)
        origin = resume_source(asked.origin, self.directory)
        with self._executing(
            self._units, progress, is_plan=True, reads=origin is not None, share=share_directory
        ) as execution:
            self._leave_last()
            self.last_resume = None
            entry = None if origin is None else self._resume(execution, origin, asked.overridden)
            if self.last_resume is None:
                for session in execution.sessions.values():
                    session.policy.reset()
            self._refuse_taken(execution)
            return self._execute(execution, entry, lambda: self._run_plan(execution))

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
        with self._executing([unit], progress) as execution:
            self._refuse_taken(execution)
            self._leave_last()
            return self._execute(execution, HistoryEntry(execution.run, unit.label), execution.run_part)

    def _preview(self, unit: Unit, progress: bool) -> RunResults:
        own = [callback for _, part in walk([unit]) for callback in getattr(part, "callbacks", ())]
        with (
            self._executing([unit], progress, saves=False) as execution,
            kept_as_it_is(self.graph, [*self.callbacks, *own], [*execution.sources.values()]),
        ):
            self._leave_last()
            execution.run_units([unit])
            return execution.results

    @contextmanager
    def _executing(
        self,
        units: Sequence[Unit],
        progress: bool,
        *,
        is_plan: bool = False,
        saves: bool = True,
        reads: bool = False,
        share: bool = False,
    ) -> Iterator[Execution]:
        """A new run of these units, checked, with its directory held; of the entire plan the experiment's policy saves."""
        sources = _plan.prepare(units, self.graph, self.label)
        run, saves = secrets.token_hex(16), saves and not self._disabled
        folders = [*_saving.folders(units, self.directory).values()] if saves else []
        if self.directory is not None and (reads or folders or (saves and self.checkpointing is not None)):
            folders.insert(0, self.directory)
        own = self.checkpointing if is_plan else None
        with _saving.held(folders, run, share=share) as directory, Progress(progress) as bar:
            sessions = _saving.sessions(units, own, self.label, self.directory, directory) if saves else {}
            yield Execution(self, units, run, sources, sessions, directory, bar)

    def _refuse_taken(self, execution: Execution) -> None:
        _saving.refuse_taken(
            *(execution.units, execution.sessions, execution.sources), execution.done, execution.run
        )

    def _leave_last(self) -> None:
        """Unfreeze what a failed phase left frozen. Not done when it fails: a checkpoint saved on
        request after that must still say how the phase continues."""
        if self._execution is not None:
            self._execution.leave()

    def _execute(
        self, execution: Execution, entry: HistoryEntry | None, run: Callable[[], None]
    ) -> RunResults:
        execution.check_savable()
        self._execution, self.results = execution, execution.results
        entry = entry or HistoryEntry(execution.run, "experiment")
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
            execution.fail(err)
            raise
        finally:
            if execution.directory is not None:
                execution.directory.writer.settle()
        entry.status = "complete"
        return self.results

    def _resume(
        self, execution: Execution, origin: Origin, override: Sequence[str] | None
    ) -> HistoryEntry | None:
        found = _resume.load(execution, origin, override)
        if found is None:
            return None
        resumption, saved = found
        self.last_resume = resumption.report
        self.history = [HistoryEntry.from_state(each) for each in saved["history"]]
        entry = next((each for each in self.history if each.run == execution.run), None)
        if entry is None:  # the first run of a fork
            entry = HistoryEntry(execution.run, "experiment")
        entry.resumed_from.append(self.last_resume.record.name)
        return entry

    def _run_plan(self, execution: Execution) -> None:
        """Run the plan to its end, rolling back where a policy says so."""
        while True:
            try:
                execution.run_plan()
                execution.look()
            except DivergenceError as err:
                if not err.can_roll_back:
                    raise
                self._roll_back(execution, err)
            else:
                return

    def _roll_back(self, execution: Execution, why: DivergenceError) -> None:
        assert execution.directory is not None
        aim = execution.directory.rollbacks.begin(why, execution.directory.disk)
        execution.begin_again(_plan.prepare(self._units, self.graph, self.label))
        history = self.history  # this run's entry stays the one that records how it ended
        self._resume(execution, aim, None)
        self.history = history
        assert self.last_resume is not None
        for entry in history:
            if entry.run == execution.run:
                entry.resumed_from.append(self.last_resume.record.name)
        execution.tell_rollback(self.last_resume.record.moment)

    def _unit(self, given: Unit | str) -> Unit:
        if not isinstance(given, str):
            return given
        units = dict(walk(self._units))
        by_name = {unit.label: unit for unit in units.values()} | units
        if given not in by_name:
            raise UsageError(f"there is no {given!r} in the plan; there are {', '.join(units) or 'none'}")
        return by_name[given]

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
        with _saving.at_hand(self.directory, execution.run, execution.directory) as directory:
            return save_manually(
                directory,
                str(self.directory),
                name,
                execution.parts,
                kind="experiment",
                moment=execution.moment_now,
                overwrite=overwrite,
                ahead=execution.ahead,
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
        return _saving.available(self._units, self.directory)

    def _fresh_execution(self) -> Execution:
        return Execution(self, self._units, secrets.token_hex(16), {}, {}, None, Progress(False))

    def state_digest(self) -> str:
        """BLAKE3 of all that two runs of one plan have in common: models, optimizers, position, results, random states.

        Times, ids and paths are not part of it, nor is what was saved, nor random states from which nothing was drawn.
        """
        execution = self._execution or self._fresh_execution()
        return state.digest(state.capture(execution.digest_parts()))
