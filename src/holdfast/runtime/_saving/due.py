"""Whether a save is due at a hook, and why: requested from outside, planned by the policy, or demanded by the loop."""

from __future__ import annotations

import logging
import time
from typing import final

from ...harness import REASON, asked, is_end, is_told, living, tell
from ...policy import TIMED, Checkpointing, Spent
from ...records import Moment
from .._costs import Pace
from .._directory import ExperimentDirectory
from .._requests import BY_REQUEST, COMPLETE
from .names import Names

logger = logging.getLogger("holdfast")


@final
class Due:
    """Counts the hooks of one session.

    Attributes:
        owes: a save was given up, so the next hook makes up for it.
        insists: the save that is due was requested, and is not skipped.
    """

    def __init__(
        self, policy: Checkpointing, names: Names, directory: ExperimentDirectory | None, pace: Pace
    ) -> None:
        self.owes = self.insists = False
        self._is_told = is_told()
        self._demanded: str | None = None
        self._policy, self._names, self._pace = policy, names, pace
        self._agreement = None if directory is None else directory.agreement
        self._directory = directory if policy.mode == "disk" else None  # what is kept in memory needs none

    def reason(self, moment: Moment) -> str | None:
        """Count this hook; the reason to save now, or None.

        What somebody asks for comes first, then what the policy says of this hook and of the time that has passed.
        """
        if self._is_told:
            tell(moment.step, time.time())
        self._pace.at(moment.step)
        requested, planned, demanded = (
            self._requested(moment),
            self._planned(moment),
            self._take_demand(moment),
        )
        if self._is_told and (life := living()) is not None:
            requested = planned = life.reason_at(moment) if self._is_checked else None
        self.insists = requested is not None or demanded is not None
        return requested or planned or demanded

    @property
    def is_calm(self) -> bool:
        """Whether only the policy can want a save."""
        return not (self._is_told or self.owes or self._demanded or asked() is not None)

    def counts(self, hook: str) -> bool:
        """Whether anything may be due at such a hook that is not the end of something."""
        return self._is_told or hook in self._policy.save_on

    def demand(self, reason: str) -> None:
        """Save at the next end of a batch, epoch or phase, whatever the policy says."""
        self._demanded = reason

    def is_end_of_replay(self, moment: Moment) -> bool:
        """Whether `holdfast replay` wants what is saved here, and no more."""
        if asked() is None or self._directory is None or moment.hook not in {*self._policy.save_on, *TIMED}:
            return False
        return is_end(self._names.path(self._names.name(moment)), moment)

    @property
    def _is_checked(self) -> bool:
        """Whether this is where `holdfast check` saves."""
        return self._names.kind == "train" and self._policy.mode == "disk"

    def _requested(self, moment: Moment) -> str | None:
        if moment.hook not in COMPLETE:
            return None
        if self._agreement is None and self._policy.take_request():
            return BY_REQUEST
        call = None if self._directory is None else self._directory.calls.answer()
        if call is not None and self._agreement is not None:
            self._policy.take_request()  # this is its answer, if it was requested here
        return call

    def _planned(self, moment: Moment) -> str | None:
        policy, hook = self._policy, moment.hook
        spent = self._spent() if policy.is_timed else None
        reason = policy.explain(hook, spent)
        put_off = policy.explain(hook) if reason is None and spent is not None else None
        policy.count(hook)
        if reason is not None:
            self.owes = False
            return reason
        if put_off is not None:
            logger.info("put off a save (%s): it is not time yet", put_off)
        if self.owes and policy.overwrite and hook in policy.save_on:
            self.owes = False
            return f"{hook}, in place of one that was given up"
        return REASON if self._is_told and self.is_end_of_replay(moment) else None

    def _spent(self) -> Spent:
        spent = self._pace.spent(is_busy=self._directory is not None and self._directory.writer.is_busy)
        return spent if self._agreement is None else self._agreement.time(spent, self._policy.time_says)

    def _take_demand(self, moment: Moment) -> str | None:
        if moment.hook not in COMPLETE:
            return None
        demanded, self._demanded = self._demanded, None
        return demanded
