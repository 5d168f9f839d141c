"""How often a run was rolled back, and the random states that it gets then."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from blake3 import blake3

from ... import bundle, rng
from ...errors import DivergenceError
from ...records import CheckpointRecord
from ...storage import Storage

logger = logging.getLogger("holdfast")


@dataclass(slots=True)
class Rollbacks:
    """How often a run was rolled back, recorded with what it saves afterwards.

    Attributes:
        count: rollbacks so far, earlier processes of the run included.
        why: what the last one was for.
        aims: ids of the checkpoints that they led to, in this process.
    """

    count: int = 0
    why: str = ""
    aims: list[str] = field(default_factory=list)
    _is_due: bool = False

    def begin(self, error: DivergenceError, disk: Storage) -> bundle.Listed:
        """The checkpoint that the error names, to be restored now; if it is gone, the error is raised."""
        aim = None if error.newest_finite is None else bundle.look(disk, error.newest_finite)
        if aim is None or aim.record is None:
            raise error
        self.count, self.why, self._is_due = self.count + 1, error.why, True
        self.aims.append(aim.record.id)
        logger.warning("rollback %d, to %s: %s", self.count, aim.record.name, self.why)
        return aim

    def read(self, record: CheckpointRecord) -> None:
        """The run resumes from this checkpoint, and has been rolled back as often as it says at least."""
        saved = record.details.get("rollbacks")
        if isinstance(saved, Mapping) and isinstance(saved.get("count"), int):
            self.count = max(self.count, saved["count"])

    def reseed(self, run: str) -> str | None:
        """After a rollback, once: seed the global random states by it, and say so in a sentence."""
        if not self._is_due:
            return None
        self._is_due = False
        rng.seed_everything(int.from_bytes(blake3(f"{run} {self.count}".encode()).digest(4)))
        return f"rolled back ({self.count}), with new random numbers: {self.why}"
