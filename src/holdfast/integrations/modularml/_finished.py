"""`Finished`: the phases of one call that are done, as checkpoints hold them and as ModularML has them."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, final

from modularml.core.experiment.results.execution_meta import PhaseExecutionMeta, PhaseGroupExecutionMeta
from modularml.core.experiment.results.experiment_run import ExperimentRun
from modularml.core.experiment.results.group_results import PhaseGroupResults

from ._results import Losses, results_of, results_state


@final
class Finished:
    """What the phases of a call have given, by path.

    Attributes:
        phases: plain data, as it is in checkpoints.
    """

    def __init__(self, phases: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.phases = dict(phases or {})
        self._results: dict[str, Any] = {}
        self._started: dict[str, datetime] = {}

    def start(self, path: str) -> None:
        """Note when a phase began."""
        self._started[path] = datetime.now()

    def note(
        self, path: str, label: str, results: Any, losses: Losses | None, labels: dict[str, str]
    ) -> None:
        """A phase is done: `losses` of its batches if it has trained, `labels` of all nodes by id."""
        self._results[path] = results
        self.phases[path] = {
            "label": label,
            "results": results_state(results, losses, labels),
            "started": self._started[path].isoformat(),
            "ended": datetime.now().isoformat(),
        }

    def given(self, path: str, nodes: dict[str, Any]) -> tuple[Any, PhaseExecutionMeta]:
        """What a phase returned, rebuilt from plain data if another process ran it."""
        kept = self.phases[path]
        if path not in self._results:
            self._results[path] = results_of(kept["results"], nodes)
        started, ended = _times(kept)
        return self._results[path], PhaseExecutionMeta(kept["label"], started, ended, "completed")

    def entry(
        self,
        label: str,
        status: Literal["failed", "completed"],
        began: datetime,
        ended: datetime,
        nodes: dict[str, Any],
    ) -> ExperimentRun:
        """These phases as an entry of an experiment's history."""
        results, meta = PhaseGroupResults(label=label), PhaseGroupExecutionMeta(label, began, ended)
        for path in self.phases:
            if "/" not in path:
                given, its_meta = self.given(path, nodes)
                results.add_result(given)
                meta.add_child(its_meta)
        return ExperimentRun(label, began, ended, status, results=results, execution_meta=meta)

    @property
    def times(self) -> list[datetime]:
        """When each phase began and ended."""
        return [time for kept in self.phases.values() for time in _times(kept)]


def _times(kept: Mapping[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(kept[name]) for name in ("started", "ended")]
