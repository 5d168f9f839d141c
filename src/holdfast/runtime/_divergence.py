"""A run that is not finite any more: noticing it at a hook, and which checkpoint to go back to.

A run that goes back and repeats the same steps diverges again. So a rollback reseeds the global random states,
from the run and the number of rollbacks (other dropout, other shuffling from the next epoch on), and a checkpoint
that one rollback has led to is not the next one's aim if an older one is finite.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping

from .. import bundle
from ..checkpoint import describe_nonfinite
from ..errors import DivergenceError
from ..policy import Divergence, is_nonfinite
from ..records import CheckpointRecord, Moment
from ._directory import ExperimentDirectory

logger = logging.getLogger("holdfast")


class Watch:
    """Looks at what one policy saves, and at losses, and says when the run is not finite any more."""

    def __init__(self, wants: Divergence | None) -> None:
        self._wants = wants
        self._nonfinite: list[str] = []  # put there by the thread that saves
        self._told: set[str] = set()

    @property
    def is_on(self) -> bool:
        return self._wants is not None

    @property
    def shuns_infinity(self) -> bool:
        """Whether a run that is no longer finite must not be resumed from where it is."""
        return self._wants is not None and self._wants.action != "warn"

    def saw(self, record: CheckpointRecord) -> None:
        """This has just been saved."""
        what = describe_nonfinite(record)
        if what is not None:
            self._nonfinite.append(f"checkpoint {record.name} is {what}")

    def forget(self) -> None:
        """The run resumes from another checkpoint."""
        self._nonfinite.clear()

    def look(
        self,
        directory: ExperimentDirectory | None,
        moment: Moment,
        metrics: Mapping[str, float],
        losses: Collection[str] = (),
    ) -> None:
        """What the policy wants to be done at this hook; `losses` are names of metrics besides `monitor` and `…loss…`.

        Raises:
            DivergenceError: training must stop.
        """
        wants = self._wants
        if wants is None:
            return
        found = self._nonfinite or _infinite(metrics, losses, wants.monitor)
        if not found:
            return
        why = f"{found[0]} at {moment.hook} of step {moment.step}" if not self._nonfinite else found[0]
        self._nonfinite = []
        if wants.action == "warn":
            if found[0] not in self._told:
                logger.warning("the run is diverging: %s", why)
            self._told.add(found[0])
            return
        if directory is None:
            raise DivergenceError(why)
        directory.writer.settle()  # what is being saved may be non-finite, or be the checkpoint to return to
        aim = aim_of(directory)
        can_roll_back = wants.action == "rollback" and directory.rollbacks.count < wants.max_rollbacks
        raise DivergenceError(why, None if aim is None else aim.path, can_roll_back and aim is not None)


def aim_of(directory: ExperimentDirectory) -> bundle.Listed | None:
    """The newest checkpoint of this run that is finite and complete, and to which no rollback has led, if there is one."""
    finite = [
        each
        for each in directory.own()
        if each.record
        and not is_nonfinite(each.record)
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
