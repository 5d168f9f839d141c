"""What saving has cost a run, and what it would lose now."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records import CheckpointRecord
from ._pace import Pace


@dataclass(slots=True)
class Accounting:
    """What saving has cost a run so far, in this process.

    Attributes:
        saves: checkpoints committed.
        failures: saves that failed and were only warned of.
        dropped: saves given up because a lazy snapshot was torn.
        skipped: saves not begun because the one before was still being written.
        blocked_s: seconds for which training stood still: waiting for the save before, and copying.
        background_s: seconds from there to the writing of the record, beside training.
        commit_s: seconds that writing and committing took, beside training if in the background.
        bytes_captured, bytes_written, bytes_shared: of the states, to the disk, and not needed to be.
    """

    saves: int = 0
    failures: int = 0
    dropped: int = 0
    skipped: int = 0
    blocked_s: float = 0.0
    commit_s: float = 0.0
    bytes_captured: int = 0
    bytes_written: int = 0
    bytes_shared: int = 0
    background_s: float = 0.0
    pace: Pace | None = field(default=None, repr=False, compare=False)

    @property
    def unsaved_s(self) -> float:
        """Seconds of training that would be lost now: those since the last committed checkpoint."""
        return 0.0 if self.pace is None else self.pace.unsaved_s

    @property
    def unsaved_steps(self) -> int:
        """Updates that would be lost now."""
        return 0 if self.pace is None else self.pace.unsaved_steps

    def add(self, record: CheckpointRecord, commit_s: float) -> None:
        self.saves += 1
        self.blocked_s += record.blocked_s
        self.background_s += record.details.get("background_s", 0.0)
        self.commit_s += commit_s
        self.bytes_captured += record.bytes_captured
        self.bytes_written += record.bytes_written
        self.bytes_shared += record.bytes_shared
