"""A run that is not finite any more: noticing it at a hook, and which checkpoint to go back to.

A run that goes back and repeats the same steps diverges again. So a rollback seeds the global random streams anew,
from the run and the number of rollbacks (other dropout, other shuffling from the next epoch on), and a checkpoint
that one rollback has led to is not the next one's aim if an older one is finite.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from .. import bundle, rng
from ..checkpoint import describe_nonfinite, is_finite
from ..errors import DivergenceError
from ..policy import Options
from ..records import CheckpointRecord, Moment

if TYPE_CHECKING:
    from ._directory import ExperimentDirectory

logger = logging.getLogger("holdfast")


class Watch:
    """Looks at what one rule saves, and at losses, and says when the run is not finite any more."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sick: list[str] = []  # put there by the thread that saves
        self._told: set[str] = set()

    @property
    def is_on(self) -> bool:
        return self._options.on_divergence is not None

    def saw(self, record: CheckpointRecord) -> None:
        """This has just been saved."""
        what = describe_nonfinite(record)
        if what is not None:
            self._sick.append(f"checkpoint {record.name} is {what}")

    def forget(self) -> None:
        """The run goes on from somewhere else."""
        self._sick.clear()

    def look(
        self,
        directory: ExperimentDirectory | None,
        moment: Moment,
        metrics: Mapping[str, float],
        losses: Collection[str] = (),
    ) -> None:
        """What the rule wants to be done at this hook; `losses` are names of metrics besides `monitor` and `…loss…`.

        Raises:
            DivergenceError: it is not to go on.
        """
        if not self.is_on:
            return
        found = self._sick or _infinite(metrics, losses, getattr(self._options, "monitor", None))
        if not found:
            return
        why = f"{found[0]} at {moment.hook} of step {moment.step}" if not self._sick else found[0]
        self._sick = []
        if self._options.on_divergence == "warn":
            if found[0] not in self._told:
                logger.warning("the run is diverging: %s", why)
            self._told.add(found[0])
            return
        if directory is None:
            raise DivergenceError(why)
        directory.writer.settle()  # what is being saved may be sick, or be what to go back to
        aim = aim_of(directory)
        wants = (
            self._options.on_divergence == "rollback"
            and directory.rollbacks.count < self._options.max_rollbacks
        )
        raise DivergenceError(why, None if aim is None else aim.path, wants and aim is not None)


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

    def begin(self, why: str, aim: CheckpointRecord) -> None:
        self.count, self.why, self._is_due = self.count + 1, why, True
        self.aims.append(aim.id)
        logger.warning("rollback %d, to %s: %s", self.count, aim.name, why)

    def read(self, record: CheckpointRecord) -> None:
        """The run goes on from this checkpoint, and has been rolled back as often as it says at least."""
        saved = record.details.get("rollbacks")
        if isinstance(saved, Mapping) and isinstance(saved.get("count"), int):
            self.count = max(self.count, saved["count"])

    def reseed(self, run: str) -> bool:
        """After a rollback, once: seed the global random streams by it; whether that was so."""
        if not self._is_due:
            return False
        self._is_due = False
        rng.seed_everything(int.from_bytes(blake3(f"{run} {self.count}".encode()).digest(4)))
        return True

    @property
    def sentence(self) -> str:
        return f"rolled back ({self.count}), with new random numbers: {self.why}"


def aim_of(directory: ExperimentDirectory) -> bundle.Listed | None:
    """The newest checkpoint of this run that is finite and whole, and to which no rollback has led, if there is one."""
    finite = [
        each
        for each in directory.own()
        if each.record
        and is_finite(each.record)
        and not each.record.details.get("thinned")
        and not _infinite(each.record.metrics)
    ]
    untried = [each for each in finite if each.record and each.record.id not in directory.rollbacks.aims]
    return next(reversed(untried or finite), None)


def _infinite(
    metrics: Mapping[str, float], losses: Collection[str] = (), monitor: str | None = None
) -> list[str]:
    return [
        f"{name} is {value}"
        for name, value in metrics.items()
        if (name in losses or name == monitor or "loss" in name.lower()) and not math.isfinite(value)
    ]
