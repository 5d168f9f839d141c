"""A copy in memory of the last complete step, which is saved if the next one fails (`save_on_exception=True`).

What half of a step has left cannot be undone: the optimizer writes its parameters in place, schedules and metrics
come after it. So there has to be a copy from before it, whatever fails later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import rng
from .. import state as states
from ..errors import DivergenceError
from ..records import Moment
from ..state import Buffers, MemorySnapshot
from ._requests import COMPLETE
from ._session import Session

logger = logging.getLogger("holdfast")


@dataclass(frozen=True, slots=True)
class _Kept:
    session: Session
    moment: Moment
    snapshot: MemorySnapshot
    metrics: Mapping[str, float]
    streams: rng.RandomState


class LastStep:
    """Holds one copy at a time, in memory that is kept between them."""

    def __init__(self) -> None:
        self._buffers = Buffers()
        self._kept: _Kept | None = None

    def keep(
        self,
        sessions: Sequence[Session],
        moment: Moment,
        state: Callable[[], Any],
        metrics: Mapping[str, float],
        *,
        is_saved: bool,
    ) -> None:
        """A step is complete: copy it, if one of these sessions would save it at a failure. `is_saved`: it is already.

        A policy with `Overhead` keeps the copy that it has until it can afford another.
        """
        if moment.hook not in COMPLETE:
            return
        session = next((one for one in sessions if one.policy.save_on_exception is True), None)
        if is_saved or session is None:
            if is_saved or self._kept is None or self._kept.moment.step != moment.step:
                self.forget()  # else it is still of the last step
            return
        if not session.affords_copy():
            return
        self.forget()
        began_s = time.perf_counter()
        try:
            snapshot = states.capture(state(), buffers=self._buffers, exclude=session.policy.exclude)
        except MemoryError:
            logger.warning(
                "there is no memory for a copy of the step: a failure of the next one will lose it"
            )
            return
        self._kept = _Kept(session, moment, snapshot, dict(metrics), rng.capture_state())
        session.copied(time.perf_counter() - began_s)

    def forget(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.snapshot.release()

    def rescue(self, error: BaseException) -> None:
        """Save the copy, because of this error. A failure of that is only logged."""
        if isinstance(error, DivergenceError):
            self.forget()  # the step was complete, but it diverged: not worth saving
            return
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.session.rescue(
                *(kept.moment, error, kept.snapshot), metrics=kept.metrics, streams=kept.streams
            )
