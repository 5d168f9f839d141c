"""`Held`: one ModularML experiment that saves through Holdfast, and goes on from what it saved.

Each call of `run`, `run_group` or `run_phase` from outside is a *call*; a run is the sequence of its calls. Going
on, calls that are done give what they gave; a phase that is done is not run again; the phase that was
interrupted is run by ModularML's own loop, but with losses that are known instead of training, up to the
hook at which it was saved. There everything is put back, and from there on it trains.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, final

from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.experiment.results.execution_meta import PhaseExecutionMeta, PhaseGroupExecutionMeta
from modularml.core.experiment.results.experiment_run import ExperimentRun
from modularml.core.experiment.results.group_results import PhaseGroupResults

from ... import bundle, rng, state
from ...checkpointing import Checkpointing, attach_to_experiment, attach_to_training
from ...errors import PlanMismatchError
from ...records import Moment
from ...session import (
    Ahead,
    ExperimentDirectory,
    LastStep,
    ResumeReport,
    Session,
    Wanted,
    go_on,
    stream_digests,
    streams_used,
)
from .modularml_graph import describe, live_parts, make_ready, memory_state
from .modularml_results import (
    Losses,
    batches_state,
    fill_metrics,
    ids_of,
    metrics_state,
    put_batches,
    results_of,
    results_state,
)
from .modularml_rules import independent, rule_of
from .modularml_values import Decoder, Encoder, holds_all

logger = logging.getLogger("holdfast")

WHOLE = ""
"""The path under which the experiment's own rule is known."""
PLAIN = ("run", "graph", "phase", "finished", "history", "random")
LIVE = ("model_graph", "optimizer", "node_optimizers")


@dataclass
class Settings:
    """What the line that switches Holdfast on said."""

    directory: Path | None = None
    checkpointing: Checkpointing | None = None
    resume: bool | str | Path = True


@dataclass
class Training:
    """A training phase at work: its batches, results, and the losses of each batch."""

    path: str
    phase: TrainPhase
    results: Any
    losses: Losses = field(default_factory=Losses)
    batches: list[dict[str, Any]] = field(default_factory=list)
    hook: tuple[str, int, int] = ("phase_start", 0, 0)


@final
class Held:
    """An experiment's hold on its directory, its rules, and its place in the plan.

    Attributes:
        run: the run's id.
        last_resume: from where it went on, and how exactly; None if from scratch.
        directory: held while a call lasts; None if nothing is saved to disk.
    """

    def __init__(self, experiment: Any, settings: Settings) -> None:
        self.experiment, self.settings = experiment, settings
        self.run = secrets.token_hex(16)
        self.last_resume: ResumeReport | None = None
        self.directory: ExperimentDirectory | None = None
        self.step = 0
        self._call, self._is_calling, self._began = -1, False, False
        self._stack: list[str] = []
        self._announced: list[str] = []  # hooks of the experiment that have been, in this call
        self._finished: dict[str, dict[str, Any]] = {}  # results of phases that are done, in this call
        self._results_here: dict[str, Any] = {}
        self._started: dict[str, datetime] = {}
        self._history_before = 0
        self._training: Training | None = None
        self._behind: Mapping[str, Any] | None = None  # of the checkpoint, until all is where it was
        self._sessions: dict[str, Session] = {}
        self._last_step = LastStep()
        self._streams_at_start = stream_digests(rng.capture_state())

    # --- calls --------------------------------------------------------------------------------------

    def call(self, original: Callable[[], Any], units: list[Any]) -> Any:
        """Make a call from outside, or give what it gave before the checkpoint."""
        if self._is_calling or self.experiment._in_callback or self.experiment._checkpointing_disabled:
            return original()
        self._call += 1
        with self._calling(units):
            if self._behind is not None and self._call < self._behind["run"]["call"]:
                return self.experiment._history[self._call].results
            began = datetime.now()
            try:
                with self._heeding():
                    result = original()
                    self.arrive()
                    if self.directory is not None:
                        self.directory.writer.wait()
            except BaseException as err:
                self._note_failure(units, began)
                self._last_step.rescue(err)
                raise
            return result

    def _heeding(self) -> AbstractContextManager[None]:
        """Inside, signals and requests to save are heard."""
        if self.directory is None:
            return nullcontext()
        return self.directory.calls.heeding([session.rule for session in self._sessions.values()])

    @contextmanager
    def _calling(self, units: list[Any]) -> Iterator[None]:
        experiment = self.experiment
        self._is_calling, whole = True, experiment._exp_checkpointing
        try:
            self._begin(units)
            if self._behind is None or self._call > self._behind["run"]["call"]:
                self._announced, self._finished = [], {}
                self._results_here, self._history_before = {}, len(experiment._history)
            if WHOLE in self._sessions:
                experiment._exp_checkpointing = _Announcing(self, whole)
            yield
        finally:
            self._is_calling = False
            self._stack.clear()
            self._training = None
            experiment._exp_checkpointing = whole
            if self.directory is not None:
                self.directory.writer.settle()

    def _begin(self, units: list[Any]) -> None:
        """Before the first call: find the directory, check all rules, go on from what is there."""
        phases = _train_phases(self.experiment._exec_plan.all) | _train_phases(units)
        rules = [(phase.label, rule_of(phase._checkpointing)) for phase in phases.values()]
        if not self._began:
            place = self._place(rules)
            whole = rule_of(self.experiment._exp_checkpointing)
            if place is not None:
                folders = [rule.directory or place / label for label, rule in rules if rule is not None]
                release(place)
                self.directory = ExperimentDirectory(
                    place, self.run, also=[str(each) for each in [place, *folders]]
                )
                _open[str(place.absolute())] = self
            if whole is not None:
                rule = attach_to_experiment(whole)
                folder = rule.directory or place
                self._sessions[WHOLE] = Session(
                    rule, "experiment", self.experiment.label, self.directory, folder
                )
            self._began = True
        for path, phase in phases.items():
            self._session_for(path, phase)
        if self._call == 0 and self.directory is not None and self.settings.resume is not False:
            self._go_on(True if self.settings.resume is True else str(self.settings.resume))

    def _place(self, rules: list[tuple[str, Checkpointing | None]]) -> Path | None:
        own = getattr(self.experiment._exp_checkpointing, "directory", None)
        found = [self.settings.directory, own, self.experiment._checkpoint_dir]
        found += [rule.directory for _, rule in rules if rule is not None and rule.mode == "disk"]
        return next((Path(each) for each in found if each is not None), None)

    def _session_for(self, path: str, phase: Any) -> Session | None:
        if path not in self._sessions:
            if phase._checkpointing is None and self.settings.checkpointing is not None:
                phase._checkpointing = attach_to_training(self.settings.checkpointing)
            rule = rule_of(phase._checkpointing)
            if rule is None:
                return None
            mine = attach_to_training(rule)
            if mine is not rule:  # it serves another phase, too: each has a ledger of its own
                phase._checkpointing = independent(phase._checkpointing, mine)
            folder = mine.directory or (self.directory and Path(self.directory.path) / phase.label)
            self._sessions[path] = Session(mine, "train", phase.label, self.directory, folder or None)
        return self._sessions[path]

    def close(self) -> None:
        if self.directory is not None and self.directory.is_open:
            self.directory.close()

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
            path = self._path
            if path in self._finished:
                return self._given(path)
            self._started[path] = datetime.now()
            return original()

    def begin_work(self) -> None:
        """What comes next changes something: unless it is the phase that was interrupted, all must be in its place."""
        if self._is_mine and not self._is_target(self._path):
            self.arrive()

    def note_results(self, phase: Any, results: Any) -> None:
        """A phase has given these: from now on checkpoints hold them."""
        if not self._is_mine:
            return
        self.arrive()
        path = self._path
        losses = None
        if self._training is not None and self._training.path == path:
            losses, self._training = self._training.losses, None
        self._results_here[path] = results
        self._finished[path] = {
            "label": phase.label,
            "results": results_state(results, losses, self.labels),
            "started": self._started[path].isoformat(),
            "ended": datetime.now().isoformat(),
        }

    def _given(self, path: str) -> tuple[Any, PhaseExecutionMeta]:
        kept = self._finished[path]
        if path not in self._results_here:
            self._results_here[path] = results_of(kept["results"], self.nodes)
        times = [datetime.fromisoformat(kept[name]) for name in ("started", "ended")]
        return self._results_here[path], PhaseExecutionMeta(kept["label"], times[0], times[1], "completed")

    @contextmanager
    def _inside(self, labels: list[str]) -> Iterator[None]:
        self._stack += labels
        try:
            yield
        finally:
            del self._stack[len(self._stack) - len(labels) :]

    @property
    def _is_mine(self) -> bool:
        """Whether what runs is part of the plan, and not an evaluation in a callback or a preview."""
        return (
            self._is_calling
            and not self.experiment._in_callback
            and not self.experiment._checkpointing_disabled
        )

    @property
    def _path(self) -> str:
        return "/".join(self._stack)

    # --- a training loop ----------------------------------------------------------------------------

    def enter_loop(self, phase: TrainPhase, results: Any) -> None:
        """A training loop begins. If it was interrupted, it passes over what is done."""
        if not self._is_mine or results is None:
            return
        path = self._path
        self._session_for(path, phase)
        self._training = Training(path, phase, results)
        if self._behind is None or not self._is_target(path):
            return
        saved = self._behind["phase"]
        self._training.losses = Losses.from_state(saved["losses"])
        callbacks = sorted(phase.callbacks, key=lambda each: each._exec_order)
        if len(callbacks) != len(saved["callbacks"]):
            raise PlanMismatchError(
                [f"phase {path!r} had {len(saved['callbacks'])} callbacks, and has {len(callbacks)}"]
            )
        self._put_callbacks(saved["callbacks"])
        self._set_aside = phase.callbacks
        phase.callbacks = []

    def note_batches(self, phase: TrainPhase, executions: list[Any]) -> list[Any]:
        """The samplers have drawn their batches."""
        if self._training is not None and self._training.phase is phase and not self._training.batches:
            if self._is_replaying:
                assert self._behind is not None
                put_batches(executions, self._behind["phase"]["batches"])
            self._training.batches = batches_state(executions)
        return executions

    def train_step(self, original: Callable[[], Any], ctx: Any) -> Any:
        """Train on a batch; or, if that was done before the checkpoint, give its losses."""
        if self._training is None or not self._is_mine:
            return original()
        at = ctx.epoch_idx, ctx.batch_idx
        if self._is_replaying:
            ctx.losses = self._training.losses.of(*at, ids_of(self.nodes))
            return None
        result = original()
        self.step += 1
        self._training.losses.record(*at, ctx.losses, self.labels)
        return result

    def announce(self, phase: TrainPhase, hook: str, epoch: int, batch: int) -> None:
        """The loop is at this hook, callbacks done: save if its rule says so; or arrive, if it was saved here."""
        if self._training is None or self._training.phase is not phase or not self._is_mine:
            return
        at = (hook, epoch, batch)
        if self._is_replaying:
            assert self._behind is not None
            if list(at) == list(self._behind["phase"]["hook"]):
                self.arrive()
            return
        self._training.hook = at
        session = self._sessions.get(self._training.path)
        if session is None:
            return
        of_batch = hook.startswith("batch")
        moment = self._moment(
            hook,
            self._training.path,
            epoch=None if hook.startswith("phase") else epoch,
            batch=batch if of_batch else None,
        )
        directory, metrics = self.directory, self._metrics()
        if directory is not None:
            directory.writer.prepare(wait=hook == "phase_end")
            directory.writer.check()
            directory.calls.hear(hook)
            session.watch.look(directory, moment, metrics)
        reason = session.due(moment)
        if reason is not None and session.rule.mode == "memory":
            session.rule.record_memory(session._key(moment), memory_state(self.experiment.model_graph))
        elif reason is not None:
            session.save(moment, self.parts, reason=reason, metrics=metrics)
        if directory is not None:
            self._last_step.keep([session], moment, self.parts, metrics, is_saved=reason is not None)
            directory.calls.obey()

    @property
    def _is_replaying(self) -> bool:
        return (
            self._behind is not None and self._training is not None and self._is_target(self._training.path)
        )

    def _is_target(self, path: str) -> bool:
        behind = self._behind
        return (
            behind is not None
            and behind["phase"] is not None
            and self._call == behind["run"]["call"]
            and behind["phase"]["path"] == path
        )

    def _metrics(self) -> dict[str, float]:
        """The latest of each metric, for records."""
        if self._training is None:
            return {}
        entries = self._training.results._metrics._entries
        return {name: float(each[-1].value) for name, each in entries.items() if each}

    # --- hooks of the experiment --------------------------------------------------------------------

    def announce_whole(self, hook: str) -> None:
        """A hook of the experiment's own rule: save if it says so. One that has been is passed over."""
        path = self._path or (None if hook.startswith("experiment") else self.experiment.label)
        name = f"{hook} {path or ''}".strip()
        if name in self._announced:
            return
        self.arrive()
        self._announced.append(name)
        session = self._sessions[WHOLE]
        moment = self._moment(hook, path)
        if self.directory is not None:
            self.directory.writer.check()
        reason = session.due(moment)
        if reason is not None:
            session.save(moment, self.parts, reason=reason, metrics={})

    def _moment(
        self, hook: str, path: str | None, *, epoch: int | None = None, batch: int | None = None
    ) -> Moment:
        return Moment(run=self.run, hook=hook, phase=path, epoch=epoch, batch=batch, step=self.step)

    # --- state --------------------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[str, Any]:
        """All data sets and nodes of the experiment, by label."""
        return {node.label: node for node in self.experiment.ctx.available_nodes.values()}

    @property
    def labels(self) -> dict[str, str]:
        return {node_id: node.label for node_id, node in self.experiment.ctx.available_nodes.items()}

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        training = self._training
        history = self.experiment._history[: self._history_before]
        return live_parts(self.experiment.model_graph) | {
            "graph": describe(self.experiment.model_graph),
            "run": {
                "id": self.run,
                "label": self.experiment.label,
                "call": max(self._call, 0),
                "step": self.step,
                "announced": list(self._announced),
                "counters": {path: session.rule.get_counters() for path, session in self._sessions.items()},
                "streams_at_start": self._streams_at_start,
            },
            "phase": None if training is None else self._training_state(training),
            "finished": dict(self._finished),
            "history": [self._run_state(each) for each in history],
            "random": rng.capture_state(),
        }

    def _training_state(self, training: Training) -> dict[str, Any]:
        return {
            "path": training.path,
            "hook": list(training.hook),
            "stopping": training.phase._stop_requested,
            "losses": training.losses.get_state(),
            "metrics": metrics_state(training.results._metrics),
            "results": Encoder(self.labels).encode(training.results._callbacks),
            "callbacks": [self._callback_state(each) for each in _callbacks(training.phase)],
            "batches": training.batches,
        }

    def _callback_state(self, callback: Any) -> dict[str, Any]:
        """Its attributes, but for those that hold live objects or code: those are the script's."""
        encoded = {name: Encoder(self.labels).encode(each) for name, each in vars(callback).items()}
        return {name: each for name, each in encoded.items() if holds_all(each)}

    def _put_callbacks(self, saved: list[Mapping[str, Any]]) -> None:
        assert self._training is not None
        for callback, attributes in zip(_callbacks(self._training.phase), saved, strict=True):
            for name, encoded in attributes.items():
                if name in vars(callback):
                    setattr(callback, name, Decoder(self.nodes).decode(encoded))

    def _run_state(self, entry: Any) -> dict[str, Any]:
        return Encoder(self.labels, frozenset({("ExecutionContext", "inputs")})).encode(entry)

    def _go_on(self, wanted: Wanted) -> None:
        """Put the newest whole checkpoint into the graph; the rest when the plan has come to its place."""
        assert self.directory is not None
        minds = [
            session.rule.options.on_divergence in ("stop", "rollback") for session in self._sessions.values()
        ]
        found = go_on(self.directory, wanted, self._load, healthy=any(minds))
        if found is None:
            return
        self.last_resume, self._behind = found
        saved = self._behind
        self.run, self.step = self.directory.run, saved["run"]["step"]  # a fork has another id than its state
        self._streams_at_start = dict(saved["run"]["streams_at_start"])
        self._announced = list(saved["run"]["announced"])
        self._finished = dict(saved["finished"])
        self.experiment._history = [Decoder(self.nodes).decode(each) for each in saved["history"]]
        self._history_before = len(self.experiment._history)
        self._fill_ledgers()

    def _load(
        self, opened: bundle.Bundle, verify: Literal["first", "streaming"]
    ) -> tuple[Mapping[str, Any], Any]:
        tree = opened.tree
        if not isinstance(tree, dict) or not tree.keys() >= {*PLAIN}:
            raise PlanMismatchError([f"{opened.path} holds no run of a ModularML experiment"])
        saved = state.rebuild(opened, {name: tree[name] for name in PLAIN})
        if saved["run"]["label"] != self.experiment.label:
            raise PlanMismatchError(
                [
                    f"{opened.path} is of experiment {saved['run']['label']!r}, and this is {self.experiment.label!r}"
                ]
            )
        graph = self.experiment.model_graph
        make_ready(graph, saved["graph"])
        parts = {name: part for name, part in live_parts(graph).items() if name in tree}
        restored = state.restore(opened, parts, verify=verify)
        return saved, restored.kept

    def _fill_ledgers(self) -> None:
        """Let each rule know what it had saved by then."""
        assert self.directory is not None
        assert self.last_resume is not None
        assert self._behind is not None
        counters, own = self._behind["run"]["counters"], self.directory.own()
        for path, session in self._sessions.items():
            session.go_on(counters.get(path, {}), own, self.last_resume.record)

    def arrive(self) -> None:
        """The plan is where it was when it was saved: from here on all is as it would have been."""
        if self._behind is None or self._call < self._behind["run"]["call"]:
            return
        saved, training = self._behind, self._training
        self._fill_ledgers()
        if training is not None and self._is_target(training.path):
            phase = training.phase
            phase.callbacks = self._set_aside
            phase._stop_requested = saved["phase"]["stopping"]
            fill_metrics(training.results._metrics, saved["phase"]["metrics"])
            training.results._callbacks = Decoder(self.nodes).decode(saved["phase"]["results"])
            training.results._series_cache.clear()
            training.hook = tuple(saved["phase"]["hook"])
        rng.restore_state(dict(saved["random"]))
        self._behind = None
        assert self.last_resume is not None
        self.last_resume.arrive(Ahead())

    # --- at the end, and by hand --------------------------------------------------------------------

    @property
    def available(self) -> dict[str, Path]:
        """Every checkpoint that the rules know of, as ModularML names them."""
        found: dict[str, Path] = {}
        for path, session in self._sessions.items():
            rule = session.rule
            for key in rule.keys_by_age if rule.mode == "disk" else ():
                place = rule.get_path(key)
                if place is not None:
                    name = place.name.removesuffix(bundle.SUFFIX)
                    found[name if path == WHOLE else f"{session.label}/{name}"] = place
        return found

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: weights, optimizers, results, random streams."""
        finished = {
            path: {name: each["results"][name] for name in ("metrics", "losses")}
            for path, each in self._finished.items()
        }
        streams = streams_used(rng.capture_state(), self._streams_at_start)
        place = {"step": self.step, "call": self._call, "announced": self._announced}
        parts = live_parts(self.experiment.model_graph)
        return state.digest(state.capture(parts | {"finished": finished, "place": place, "random": streams}))

    def _note_failure(self, units: list[Any], began: datetime) -> None:
        """Enter a run that failed into the experiment's history, with the results of the phases that were done."""
        label = units[0].label if units else self.experiment.label
        self._enter(label, "failed", began, datetime.now())

    def enter_history(self, finished: Mapping[str, Any]) -> None:
        """What a checkpoint says of the run that it is of."""
        kept, self._finished, self._results_here = (self._finished, self._results_here), dict(finished), {}
        times = [
            datetime.fromisoformat(each[name]) for each in finished.values() for name in ("started", "ended")
        ]
        if times:
            self._enter(self.experiment.label, "completed", min(times), max(times))
        self._finished, self._results_here = kept

    def _enter(
        self, label: str, status: Literal["failed", "completed"], began: datetime, ended: datetime
    ) -> None:
        results, meta = PhaseGroupResults(label=label), PhaseGroupExecutionMeta(label, began, ended)
        for path in self._finished:
            if "/" not in path:
                given, its_meta = self._given(path)
                results.add_result(given)
                meta.add_child(its_meta)
        entry = ExperimentRun(label, began, ended, status, results=results, execution_meta=meta)
        self.experiment._history.append(entry)


class _Announcing:
    """Stands in the experiment's place for its rule while it runs: hears of hooks, and saves by itself."""

    def __init__(self, held: Held, rule: Any) -> None:
        self._held, self._rule = held, rule

    def should_save(self, hook: str) -> bool:
        if self._held._is_mine:
            self._held.announce_whole(hook)
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)


_open: dict[str, Held] = {}
"""Who holds which directory in this process."""


def release(place: Path) -> None:
    """Let go of a directory that an experiment of this process has held, and that does not run now."""
    held = _open.pop(str(place.absolute()), None)
    if held is not None and not held._is_calling:
        held.close()


def close_all() -> None:
    for held in [*_open.values()]:
        held.close()
    _open.clear()


def _callbacks(phase: TrainPhase) -> list[Any]:
    return sorted(phase.callbacks, key=lambda each: each._exec_order)


def _train_phases(units: list[Any], above: str = "") -> dict[str, TrainPhase]:
    """All training phases below these units, by path."""
    found: dict[str, TrainPhase] = {}
    for unit in units:
        if isinstance(unit, PhaseGroup):
            found |= _train_phases(unit.all, f"{above}{unit.label}/")
        elif isinstance(unit, TrainPhase):
            found[f"{above}{unit.label}"] = unit
    return found
