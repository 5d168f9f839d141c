"""What a training whose framework keeps the loop, in one process or several, does in all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...data import ANOTHER_BATCH, BatchSource, differences_of
from ...errors import PlanMismatchError, UsageError
from ...runtime import Lacking
from ...variables import Held, Variables
from .arguments import Arguments
from .processes import Processes
from .reporting import Reporting


class HeldTraining(Reporting):
    """For a callback to inherit. Process 0 has the loop and decides; the others give it what they have for themselves.

    Attributes:
        _behind: what is to be put back once the framework is there; None if nothing is.
        _lacking: finds, in process 0, what is at work and not saved.
    """

    _given: Arguments
    _processes: Processes
    _behind: Any
    _lacking: Lacking
    _is_saving = False  # as opposed to a question, such as `state_digest`, which only process 0 hears
    _has_rolled_back = False  # and has not resumed yet

    def _get_own(self) -> dict[str, Any]:
        """What each process has for itself."""
        raise NotImplementedError

    def _begin_lacking(self, objects: Callable[[], Mapping[str, Any]], advice: str) -> Lacking:
        """Its `found` goes into each save, and what it finds into the report of a resume."""
        self._lacking = Lacking(objects, lambda found: self._known.lack(found, advice))
        return self._lacking

    def _hold_attributes(
        self,
        holders: Callable[[], Mapping[str, Any]],
        objects: Callable[[], Mapping[str, Any]],
        trainer: Any,
        others: Callable[[], Sequence[Any]],
        *,
        num_processes: int,
    ) -> Variables:
        """Let the script's variables be part of each save, and of a resume; of several processes, named.

        They are the attributes of `holders`, and what all functions of the script reach that `trainer` may call.
        `objects`, `others`: what is saved elsewhere, and what is the framework's.
        """
        is_alone = num_processes == 1 or self._given.variables == "off"
        self._variables = Variables(
            self._given.variables if is_alone else "watch",
            objects,
            lambda: [self, trainer],
            lambda found: self._known.add_differences(found),
            held=Held(holders, skips_tensors=True, roots=lambda: [trainer], others=others),
        )
        self._variables.ignore(self._ignored)
        return self._variables

    def _begin_attributes(self) -> None:
        """The training begins: what changes from now on is no longer as the script makes it."""
        if self._variables is not None:
            self._variables.begin()

    def _check_rollback(self, num_processes: int) -> None:
        if num_processes > 1 and self._given.policy.rolls_back:
            raise UsageError(
                "on_divergence='rollback' goes back in one process, and here are several: use 'stop', change what "
                "diverges, and start again; it resumes from the newest checkpoint that was finite."
            )

    def _tell(self, hook: str, **at: Any) -> None:
        """Save if process 0 says so, with what the others have; leave if it leaves."""
        if self._loop is None:
            self._processes.follow(self._get_own)
            return
        with self._processes.leading():
            self._is_saving = True
            try:
                self._lacking.at(hook)
                self._loop.announce(hook, **at)
            finally:
                self._is_saving = False

    def _finish_loop(self, differences: Callable[[], list[str]]) -> None:
        """In process 0: the training is where it was when it was saved."""
        variables = self._variables
        if variables is not None:
            variables.put_back()
        self._known.finish_resume(
            lambda: [*differences(), *(() if variables is None else variables.differences)]
        )
        if self._has_rolled_back:
            self._has_rolled_back = False
            if self._given.on_rollback is not None:
                self._given.on_rollback(self)


def check_number(then: int, now: int, path: str = "the checkpoint") -> None:
    """PlanMismatchError unless there are as many processes as when it was saved."""
    if then != now:
        raise PlanMismatchError([f"{path} is of {then} processes, and here are {now}"])


def differences(
    saved: Mapping[str, Any], sources: Sequence[BatchSource], *, is_another_batch: bool
) -> list[str]:
    """Why what comes may not be what would have come: by what was saved of the data, and by what they are now."""
    found = [] if saved["exactness"] == "exact" else [saved["exactness"].removeprefix("not exact: ")]
    for each in sources:
        found += each.differences
    for about, each in zip(saved.get("about_data", ()), sources, strict=False):
        found += differences_of(about, each.describe())
    return [*found, ANOTHER_BATCH] if is_another_batch else found
