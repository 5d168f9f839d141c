"""Where a run of a plan is, and what a checkpoint there holds.

The position is three plain facts: the units that are done, those that have been entered and not left (a phase
and the groups around it), and the state of the last training loop.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .. import rng
from ..data import BatchSource
from ..errors import GraphError
from ..records import VARIABLES, Moment
from ..runtime import (
    Ahead,
    ExperimentDirectory,
    Hooks,
    Lacking,
    Resumption,
    Session,
    stream_digests,
    streams_used,
    warn_lacking,
)
from ..variables import Mode, Variables
from ._callbacks import Callback
from ._graph import ModelGraph
from ._phases import TrainPhase, Unit, functions_of, saves_itself, walk
from ._plan import differences
from ._progress import Progress
from ._results import HistoryEntry, RunResults
from ._saving import EXPERIMENT
from ._training import Training

_HAND_OVER = "give it to the ModelGraph, or let get_state of a callback save it"


class Plan(Protocol):
    """What an execution needs of the experiment that it runs."""

    label: str
    graph: ModelGraph | None
    callbacks: tuple[Callback, ...]
    history: list[HistoryEntry]
    variables: Mode
    ignored: list[str]

    @property
    def units(self) -> tuple[Unit, ...]: ...

    def describe_plan(self, sources: Mapping[str, BatchSource]) -> dict[str, dict[str, Any]]: ...


class Position:
    """Where a run of `experiment`, or of a part of its plan, is: at the beginning until `set_state`.

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
        self._attributes = _attributes_of(experiment.graph)
        self.elsewhere: list[str] = []  # attributes that were saved and find no place
        self.variables = Variables(
            experiment.variables,
            self._held,
            self._own_parts,
            self._differ,
            functions=lambda: functions_of(experiment.callbacks, units, experiment.graph),
        )
        self.variables.ignore(experiment.ignored)
        self.lacking = Lacking(self._held, self._lack)

    @property
    def graph(self) -> ModelGraph:
        if self.experiment.graph is None:
            raise GraphError(
                f"experiment {self.experiment.label!r} has no model graph, and its plan needs one"
            )
        return self.experiment.graph

    # --- in the plan ------------------------------------------------------------------------------

    def moment(
        self, hook: str, path: str | None, epoch: int | None = None, batch: int | None = None
    ) -> Moment:
        return Moment(run=self.run, hook=hook, phase=path, epoch=epoch, batch=batch, step=self.step)

    def finish_unit(self, path: str) -> None:
        """From now on a checkpoint says that this unit is done."""
        self.entered.remove(path)
        self.done.append(path)

    def reopen(self, path: str) -> None:
        """Enter a finished phase again, and the groups around it: there are more epochs to run."""
        self._reopened, self.results.status = path, "running"
        for above in [EXPERIMENT, *_prefixes(path)]:
            if above in self.done:
                self.done.remove(above)
                self.entered.append(above)

    def begin_again(self, sources: Mapping[str, BatchSource]) -> None:
        """Forget the position of this run: that of a checkpoint is about to be restored."""
        self.sources, self._loop, self._reopened = sources, None, None

    def leave(self) -> None:
        """Unfreeze what an entered but unfinished phase froze."""
        froze: Sequence[str] = ()
        if self._loop is not None and self._loop.path in self.entered:
            froze = self._loop.thaw
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
        variables, facts = self.variables.capture() if self.directory is not None else ({}, {})
        return parts | {
            **({VARIABLES: variables} if variables else {}),
            "run": {
                "id": self.run,
                "label": self.experiment.label,
                "step": self.step,
                "streams_at_start": self._streams_at_start,
                "options": self.options,
                "done": list(self.done),
                "entered": list(self.entered),
                "pending": [[reason, moment.hook, moment.phase] for reason, moment in self._hooks.pending],
                **self._changed_attributes(),
                **({"lacking": list(found)} if (found := self.lacking.found) else {}),
                **({"variables": facts} if facts else {}),
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
            "position": {"done": list(self.done), "entered": list(self.entered), "step": self.step}
            | self._changed_attributes(),
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
        if self._attributes is not None:
            self.elsewhere = self._attributes.set_state(run.get("attributes", {}))
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
            if path in self.sources and not differences(
                path, saved["plan"][path]["data"], plan[path]["data"]
            ):
                self.sources[path].resume(kept)
        self.saved_loop = saved["phase"]
        self._saved_streams = saved["random"]

    def _changed_attributes(self) -> dict[str, Any]:
        changed = {} if self._attributes is None else self._attributes.get_state()
        return {"attributes": changed} if changed else {}

    def _held(self) -> dict[str, Any]:
        """What is trained and is in a checkpoint: the graph, and what callbacks hold that save something of their own."""
        graph = self.experiment.graph
        callbacks = [*self.experiment.callbacks]
        callbacks += [each for _, unit in walk(self.units) for each in getattr(unit, "callbacks", ())]
        saving = [each for each in callbacks if saves_itself(each)]
        return {
            **({} if graph is None else graph.state_parts()),
            "callbacks": [vars(each) for each in saving],
        }

    def _own_parts(self) -> list[Any]:
        """What belongs to the run and may be among the script's variables."""
        callbacks = [each for found in self._callbacks_ahead().values() for each in found]
        data = [getattr(unit, "data", None) for _, unit in walk(self.units)]
        saving = [each for each in callbacks if saves_itself(each)]
        return [
            self.experiment,
            *self.units,
            *self.sources.values(),
            *saving,
            *(each for each in data if hasattr(each, "state_dict")),
        ]

    def _lack(self, found: Sequence[str]) -> None:
        warn_lacking(found, _HAND_OVER)
        self._differ(found)

    def _differ(self, found: Sequence[str]) -> None:
        if self.resumption is not None:
            self.resumption.add(found)

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


def _attributes_of(graph: ModelGraph | None) -> Any:
    """What the modules of a graph keep for themselves; None where torch is not loaded."""
    if graph is None or "torch" not in sys.modules:
        return None
    from ..runtime.torch_watch.attributes import Attributes

    return Attributes({node.label: node.model for node in graph.model_nodes})


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
