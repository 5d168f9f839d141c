"""Whether a run saves at all: in some loops none of the hooks that the policy names ever comes."""

from __future__ import annotations

import logging
from typing import final

from ...errors import NothingSavedError
from ...policy import Checkpointing, Every
from .._costs import Accounting

logger = logging.getLogger("holdfast")

_COMES = {
    "batch_start": "for batch in run.batches(data)",
    "batch_end": "for batch in run.batches(data)",
    "epoch_start": "for epoch in run.epochs(n)",
    "epoch_end": "for epoch in run.epochs(n)",
}


@final
class Unsaved:
    """A watch over one run, in this process: warns at the end of its first epoch, or step, that nothing will be saved."""

    def __init__(self, policy: Checkpointing) -> None:
        self._policy = policy
        self._has_trained = False

    def trained(self) -> None:
        """An epoch, or a step of a loop without epochs, has ended; the policy has counted the hooks so far."""
        if self._has_trained:
            return
        self._has_trained = True
        if self._is_idle and "phase_end" not in self._policy.save_on:
            logger.warning("nothing will be saved: %s", self._why())

    def check(self, accounting: Accounting) -> None:
        """The run has ended, without an error.

        Raises:
            NothingSavedError: it has trained, none of the policy's hooks has come, and nothing was saved otherwise.
        """
        tried = accounting.saves + accounting.failures + accounting.dropped + accounting.skipped
        if not self._has_trained or tried:
            return
        if self._is_idle:
            raise NothingSavedError(self._why())
        logger.warning(
            "the run has ended and has saved nothing: the policy found no save due (%s)", self._policy.when
        )

    @property
    def _is_idle(self) -> bool:
        """None of the policy's hooks has come yet, and time alone asks for no save."""
        is_timed = any(not any(isinstance(each, Every) for each in term) for term in self._policy.when.terms)
        return not is_timed and not any(self._policy.get_counters().values())

    def _why(self) -> str:
        hooks = self._policy.save_on
        named = " and ".join(hooks)
        ways = dict.fromkeys(f"`{_COMES[hook]}:`" for hook in hooks if hook in _COMES)
        where = f"; that is announced by {' or '.join(ways)}" if ways else ""
        return f"the policy saves on {named}, which has not come in this loop{where}"
