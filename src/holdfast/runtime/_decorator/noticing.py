"""`NoticingRun`: the run of a decorated function. It is entered where its loop begins, with the objects that are there by then."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar, final

from ...errors import UsageError
from ...variables import check_patterns, is_at_break, noticed
from .._resuming.said import say
from .._run import Run

logger = logging.getLogger("holdfast")
Item = TypeVar("Item")

_LOOP = (
    "with run = holdfast.current_run(), write it as `for epoch in run.epochs(n)` and `for batch in run.batches(loader)`, or as "
    "`for step in run.steps(n)`"
)


class _NotBegunError(UsageError, AttributeError):
    """This attribute or method of the run exists only once its loop has begun."""


@final
class NoticingRun(Run):
    """A run that notices what it trains.

    The function has returned when the run is left, and with it its variables have gone. So the run is finished where its
    loop ends: when that is exhausted, or left by a `break`. Not by a `return`: what it returned could not be had again.

    Args:
        function: the name of the decorated function.
        caller: the frame that calls the function.
        arguments: for `Run`, all but the directory and the state.
    """

    def __init__(
        self, function: str, caller: FrameType, directory: str | os.PathLike[str], arguments: dict[str, Any]
    ) -> None:
        self._function, self._caller = function, caller
        self._place, self._arguments = directory, arguments
        self._to_ignore: list[str] = []
        self._failure: BaseException | None = None  # of the finish, where Python drops it
        self._early = _early_steps(self._refuse_step)
        self._has_begun = self._is_over = False

    def __enter__(self) -> NoticingRun:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        del self._caller
        self._stop_looking()
        if self._has_begun:
            super().__exit__(kind, error, trace)
        elif error is None:
            logger.warning(
                "%s() has ended without a loop of its run, so nothing was saved or resumed. If it trains in a loop, %s",
                *(self._function, _LOOP),
            )

    # --- its loop ---------------------------------------------------------------------------------

    def epochs(self, n_epochs: int) -> Iterator[int]:
        self._begin()
        return super().epochs(n_epochs)

    def batches(self, *data: Iterable[Any], **options: Any) -> Iterator[Any]:
        if options.get("steps") is not None:
            self._begin()
        return super().batches(*data, **options)

    def steps(self, n_steps: int) -> Iterator[int]:
        self._begin()
        return super().steps(n_steps)

    def ignore(self, *patterns: str) -> None:
        if self._has_begun:
            super().ignore(*patterns)
        else:
            self._to_ignore += check_patterns(patterns)

    def _begin(self) -> None:
        """Enter the run with all that is within reach now."""
        if self._is_over:
            raise UsageError(
                f"a loop of {self._function}() was left by a `break`, which ends its run, and here is another one: make one loop of the "
                "two, or put the second into a function of its own, with a directory of its own."
            )
        if self._has_begun:
            return
        objects = noticed(self._caller)
        if not objects:
            raise UsageError(
                f"no model, optimizer or other object with a state of its own is within reach of {self._function}() where its "
                "loop begins. Make them before it; arrays and numbers alone are not noticed: pass them by name, as in "
                "`with holdfast.Run(directory, {'params': params}) as run:`."
            )
        self._stop_looking()
        super().__init__(self._place, objects, **self._arguments)
        self._loops.wrap = self._until_left
        self._progress.advice = f"make it in {self._function}() before the loop begins"
        super().ignore(*self._to_ignore)
        named = ", ".join(f"{name} ({type(each).__name__})" for name, each in objects.items())
        say(logging.INFO, f"{self._function}() hands over: {named}")
        super().__enter__()
        self._has_begun = True

    def _until_left(self, inner: Generator[Item, None, None]) -> Generator[Item, None, None]:
        """The items of `inner`; then the run is finished, while the variables of the loop are still there."""
        try:
            yield from inner
        except GeneratorExit:
            if is_at_break():
                self._is_over = True
                try:
                    self._finish_loop()
                except BaseException as err:
                    self._failure = err
            raise
        self._finish_loop()
        self._is_over = self._progress.at.ended == "stopped"

    def _finish_loop(self) -> None:
        if not self._progress.is_behind:
            self._progress.finish()

    def _finish(self) -> None:
        """The function has returned: all is done already, unless an error put an end to its loop, and it has caught that."""
        if self._failure is not None:
            raise self._failure

    # --- before its loop --------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__dict__.get("_has_begun", True):
            raise AttributeError(f"a Run has no attribute {name!r}", name=name, obj=self)
        raise _NotBegunError(
            f"the run of {self._function}() begins with its loop, and this comes before it. If there is no loop of the run yet: {_LOOP}."
        )

    def __repr__(self) -> str:
        return super().__repr__() if self._has_begun else f"<Run of {self._function}(), before its loop>"

    def _stop_looking(self) -> None:
        if self._early is not None:
            self._early.close()
            self._early = None

    def _refuse_step(self, optimizer: str) -> None:
        raise UsageError(
            f"an optimizer ({optimizer}) has stepped in {self._function}() outside of a loop of its run, where nothing is saved or "
            f"resumed. If this is the training loop: {_LOOP}. Training that comes earlier belongs before the call of {self._function}()."
        )


def _early_steps(refuse: Callable[[str], None]) -> Any:
    """Who refuses steps before the loop; None where torch is not loaded."""
    if "torch" not in sys.modules:
        return None
    from ..torch_watch.early_steps import EarlySteps

    return EarlySteps(refuse)
