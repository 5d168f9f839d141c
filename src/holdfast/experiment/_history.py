"""What was run in an experiment: an entry per run, with its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


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
