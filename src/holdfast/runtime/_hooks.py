"""What happens at each hook of a run, whichever training loop announces it.

In this order: *prepare* (a lazy save is sealed before anything writes weights), *check* (a failed save surfaces),
hear what was requested from outside, *look* whether everything is finite, find what is *due*, *save* it, *keep* a copy
of the step, and *obey* a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

from .. import rng
from ..records import Moment
from ._directory import ExperimentDirectory
from ._last_step import LastStep
from ._resuming.expected import Ahead
from ._session import Session


@final
class Hooks:
    """The hooks of one run; without a directory it saves to memory only.

    Attributes:
        pending: saves that are due at this hook and have not begun, each a reason and a moment.
    """

    def __init__(self, directory: ExperimentDirectory | None) -> None:
        self._directory = directory
        self.last_step = LastStep()
        self.pending: list[tuple[str, Moment]] = []

    def prepare(self, hook: str) -> None:
        """The run comes to this hook: what is done there (callbacks, at the end of a phase) may write weights."""
        if self._directory is not None:
            self._directory.writer.prepare(wait=hook == "phase_end")

    def announce(
        self,
        moment: Moment,
        sessions: Sequence[Session],
        parts: Callable[[], Any],
        *,
        ahead: Callable[[], Ahead],
        metrics: Mapping[str, float],
        losses: Collection[str] = (),
        watching: Sequence[Session] | None = None,
    ) -> bool:
        """The run is at this hook, everything that belongs to it done: count it, and save where a policy says so.

        Returns whether anything was due.

        Args:
            sessions: whose policies count this hook, in the order in which they save.
            parts: called for what a checkpoint holds; `ahead`, for what comes next.
            losses: names of metrics that are to be finite, besides `monitor` and those with "loss" in their name.
            watching: who says whether the run is finite; by default `sessions`.

        Raises:
            SaveError: an earlier save in the background has failed, or this one did.
            Preempted, KeyboardInterrupt: a signal has told the run to leave, and its state is saved.
            DivergenceError: what is trained is not finite, and a policy minds; nothing was saved now.
        """
        directory = self._directory
        if directory is not None:
            directory.writer.check()
            directory.calls.hear(moment.hook)
            directory.heed(moment)
        for session in sessions if watching is None else watching:
            session.watch.look(directory, moment, metrics, losses)
        due = [(session, reason) for session in sessions if (reason := session.due(moment))]
        # A kill between two saves of one moment must not lose the second: the first says that it is due.
        self.pending = [(reason, moment) for _, reason in due]
        is_saved = False
        for session, reason in due:
            self.pending.pop(0)
            was_taken = session.save(moment, parts, reason=reason, metrics=metrics, ahead=ahead)
            is_saved |= was_taken and session.policy.mode == "disk"
        if directory is not None:
            self.last_step.keep(sessions, moment, parts, metrics, is_saved=is_saved)
            directory.calls.obey()
        return bool(due)

    def at_rest(
        self,
        sessions: Sequence[Session],
        moment: Moment,
        parts: Callable[[], dict[str, Any]],
        before: Callable[[], dict[str, Any]],
    ) -> AbstractContextManager[None]:
        """Inside, nothing in a checkpoint changes except random states: data are read, or measured on.

        If it raises, and a policy says so, the run is saved as it was. `before`: called at the beginning for those
        of its `parts` that reading changes.
        """
        for session in sessions:
            if session.policy.save_on_exception:
                return self._rescuing(session, moment, parts, before)
        return nullcontext()

    @contextmanager
    def _rescuing(
        self,
        session: Session,
        moment: Moment,
        parts: Callable[[], dict[str, Any]],
        before: Callable[[], dict[str, Any]],
    ) -> Iterator[None]:
        kept = {**before(), "random": rng.capture_state()}
        try:
            yield
        except Exception as err:
            self.last_step.forget()
            session.rescue(*(moment, err, lambda: parts() | kept), metrics={}, streams=kept["random"])
            raise

    def rescue(self, error: BaseException, sessions: Sequence[Session]) -> None:
        """The run has failed: save its last complete step if a policy says so, and say what is lost."""
        if self._directory is not None and any(one.policy.save_on_exception for one in sessions):
            self.last_step.rescue(error)
            self._directory.tell_loss()

    def look_at_end(self, watching: Sequence[Session], moment: Moment) -> None:
        """Once everything is committed: raise DivergenceError if what was saved last is not finite."""
        if self._directory is not None and any(session.watch.is_on for session in watching):
            self._directory.writer.settle()
            for session in watching:
                session.watch.look(self._directory, moment, {})
