"""What was run in an experiment, and what a run has measured so far: a table for each of its phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..policy import Direction
from ..runtime import Table

if TYPE_CHECKING:
    import pandas

Status = Literal["running", "complete", "stopped early", "failed"]


class PhaseResult:
    """What one phase has measured: a row of metrics per epoch, and how the phase ended.

    Attributes:
        path: the phase's path in the plan; `label` is its last part.
        kind: "train", "eval" or "fit".
        status: "running", "complete", "stopped early" or "failed".
        reason: why it stopped early or failed, in words.
        epochs: the metrics, a row per finished epoch, with its index in the column `epoch`.
        timings: seconds and the like, a row per epoch; no part of what must be reproduced.
        predictions: by node label or column, one row per sample; None if the phase keeps none.
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.status: Status = "running"
        self.reason: str | None = None
        self.epochs = Table()
        self.timings = Table()
        self.predictions: dict[str, npt.NDArray[Any]] | None = None

    @property
    def label(self) -> str:
        return self.path.rpartition("/")[2]

    def record(
        self, epoch: int, metrics: Mapping[str, float], timings: Mapping[str, float] | None = None
    ) -> None:
        """Enter a finished epoch."""
        self.epochs.append({"epoch": epoch, **metrics})
        self.timings.append({"epoch": epoch, **(timings or {})})

    def finish(self, status: Status, reason: str | None = None) -> None:
        """Record how the phase ended, or that it runs again."""
        self.status, self.reason = status, reason

    def __getitem__(self, metric: str) -> npt.NDArray[np.float64]:
        """A metric over the epochs, `(epochs,)` float64; KeyError lists the existing ones."""
        return self.epochs[metric]

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"PhaseResult({self.path!r}, {self.kind}, {self.status}{why}, {len(self)} epochs)"

    @property
    def last(self) -> dict[str, float]:
        """The metrics of the last epoch, `epoch` included; empty before the first."""
        return self.epochs.row(-1) if len(self) else {}

    def best(self, metric: str, direction: Direction = "min") -> dict[str, float]:
        """The metrics of the first epoch in which `metric` was best, `epoch` included; NaN is never best.

        Raises:
            KeyError: there is no such metric.
            UsageError: `direction` is neither "min" nor "max", or the metric has no number yet.
        """
        if direction not in ("min", "max"):
            raise UsageError(f"direction= must be 'min' or 'max', not {direction!r}")
        values = self[metric]
        if not len(values) or np.isnan(values).all():
            raise UsageError(f"{metric!r} has no best epoch yet: it has no value that is a number")
        return self.epochs.row(int(np.nanargmin(values) if direction == "min" else np.nanargmax(values)))

    def to_pandas(self) -> pandas.DataFrame:
        """One row per epoch: `epoch`, the metrics, then the timings.

        Raises:
            ImportError: pandas is not installed.
        """
        frame = {name: self.epochs[name] for name in self.epochs.columns}
        frame |= {name: self.timings[name] for name in self.timings.columns if name not in frame}
        table = _pandas().DataFrame(frame)
        return table.astype({"epoch": "int64"}) if len(table) else table

    def get_state(self, timings: bool = True) -> dict[str, Any]:
        """Plain data and arrays; without timings, what two runs of the same plan have in common."""
        state = {
            "kind": self.kind,
            "status": self.status,
            "reason": self.reason,
            "epochs": self.epochs.get_state(),
            "predictions": None if self.predictions is None else dict(self.predictions),
        }
        return state | {"timings": self.timings.get_state()} if timings else state

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.kind, self.status, self.reason = state["kind"], state["status"], state["reason"]
        self.epochs.set_state(state["epochs"])
        self.timings.set_state(state["timings"])
        self.predictions = None if state["predictions"] is None else dict(state["predictions"])


class RunResults(Mapping[str, PhaseResult]):
    """The results of a run: each phase's, by its path, in the order in which they began."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.status: Status = "running"
        self._phases: dict[str, PhaseResult] = {}

    def begin(self, path: str, kind: str) -> PhaseResult:
        """The result of that phase, now running: a new one, or the one there is with all its rows."""
        result = self._phases.setdefault(path, PhaseResult(path, kind))
        result.finish("running")
        return result

    def __getitem__(self, path: str) -> PhaseResult:
        if path not in self._phases:
            raise KeyError(
                f"there is no phase {path!r} in the results; there are {', '.join(self._phases) or 'none'}"
            )
        return self._phases[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._phases)

    def __len__(self) -> int:
        return len(self._phases)

    def __repr__(self) -> str:
        phases = "".join(f"\n  {phase!r}" for phase in self._phases.values())
        return f"RunResults(run={self.run!r}, {self.status}){phases}"

    def to_pandas(self) -> pandas.DataFrame:
        """One row per epoch of every phase: `phase`, `epoch`, the metrics and timings.

        Raises:
            ImportError: pandas is not installed.
        """
        pandas = _pandas()
        frames = [phase.to_pandas().assign(phase=path) for path, phase in self._phases.items() if len(phase)]
        if not frames:
            return pandas.DataFrame(columns=["phase", "epoch"])
        table = pandas.concat(frames, ignore_index=True)
        return table[["phase", *(name for name in table.columns if name != "phase")]]

    def get_state(self, timings: bool = True) -> dict[str, Any]:
        """Plain data and arrays; without timings and run id, what two runs of the same plan have in common."""
        phases = {path: phase.get_state(timings) for path, phase in self._phases.items()}
        state = {"status": self.status, "phases": phases}
        return {"run": self.run, **state} if timings else state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned, with timings."""
        self.run, self.status = state["run"], state["status"]
        self._phases = {}
        for path, saved in state["phases"].items():
            self.begin(path, saved["kind"]).set_state(saved)


@dataclass(slots=True)
class HistoryEntry:
    """One run of an experiment or of a part of it.

    Attributes:
        run: the run's id; the same before and after a resume.
        what: "experiment", or the path of the phase or group that was run alone.
        status: "running", "complete", "failed" or "interrupted".
        started: ISO 8601, UTC.
        resumed_from: names of the checkpoints that the run resumed from, in order.
        reason: what ended a run that failed.
    """

    run: str
    what: str
    status: str = "running"
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    resumed_from: list[str] = field(default_factory=list)
    reason: str | None = None

    def get_state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_state(cls, saved: Mapping[str, Any]) -> HistoryEntry:
        return cls(**{**saved, "resumed_from": list(saved["resumed_from"])})

    def fail(self, error: BaseException) -> None:
        """The run ended with this exception."""
        self.status = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        self.reason = f"{type(error).__name__}: {error}"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as err:
        raise ImportError("to_pandas() needs pandas: `pip install holdfast[pandas]`") from err
    return pandas
