"""The loops over epochs, batches and steps: each gives a script what is still to come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar, final

from ...errors import UsageError
from ...variables import Variables
from .._loop import Loop
from .._resuming.data import EpochData, Given
from .block import Block
from .progress import Progress
from .sized import Sized

Item = TypeVar("Item")

_END: Any = object()


@final
class Loops:
    """The loops of one run; what they raise and give is said in `Run`.

    Attributes:
        wrap: put around the items of each outer loop.
    """

    def __init__(
        self, block: Block, loop: Loop, progress: Progress, data: EpochData, variables: Variables
    ) -> None:
        self._block, self._loop, self._progress = block, loop, progress
        self._data, self._variables = data, variables
        self.wrap: Callable[[Generator[Any, None, None]], Generator[Any, None, None]] = lambda inner: inner
        self._trained: set[str] = set()  # the kinds of loops that have given something in this process

    # --- epochs and steps -------------------------------------------------------------------------

    def epochs(self, n_epochs: int) -> Iterator[int]:
        at = self._progress.at
        self._check("epochs", n_epochs=n_epochs)
        return self._outer("epochs", n_epochs, self._epochs_left(n_epochs), lambda: at.epoch)

    def steps(self, n_steps: int) -> Iterator[int]:
        at = self._progress.at
        self._check("steps", n_steps=n_steps)
        return self._outer("steps", n_steps, self._steps_left(n_steps), lambda: at.steps)

    def _check(self, name: str, **count: Any) -> None:
        self._block.check_loop(name)
        for what, value in count.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UsageError(f"{what} must be an integer >= 0, not {value!r}.")

    def _outer(
        self, name: str, total: int, inner: Generator[Item, None, None], position: Callable[[], int]
    ) -> Iterator[Item]:
        """A loop of the script that is in no other one of the run."""
        progress = self._progress

        def turns() -> Generator[Item, None, None]:
            if name in self._trained and total and not num_left() and progress.at.ended != "stopped":
                raise UsageError(
                    f"a second loop over {name} has nothing left: run.{name}(…) says how many there are in all, those of the loop before "
                    f"included, and {position()} are done. Add what the second loop is to do, or give it a run of its own."
                )
            with self._block.looping(name):
                self._data.see_variables()
                for each in inner:
                    self._trained.add(name)
                    yield each

        def num_left() -> int:
            return 0 if progress.at.ended == "stopped" else max(0, total - position())

        return self._variables.turns(
            Sized(self.wrap(turns()), num_left),
            is_behind=lambda: progress.is_behind,
            position=position,
            total=total,
        )

    def _epochs_left(self, n_epochs: int) -> Generator[int, None, None]:
        progress, at = self._progress, self._progress.at
        while progress.has_more(lambda: at.epoch < n_epochs or at.within is not None):
            if progress.begin_epoch():
                progress.enter_epoch()
                yield at.epoch
                if progress.diverged is None:
                    progress.finish_resume()
                    progress.finish_epoch()
        progress.finish_over()

    def _steps_left(self, n_steps: int) -> Generator[int, None, None]:
        progress, at = self._progress, self._progress.at
        while progress.has_more(lambda: at.steps < n_steps):
            progress.finish_resume()
            at.within, at.ended = "step", None
            if progress.begin_batch(epoch=0, batch=at.steps):
                yield at.steps
                progress.finish_batch(at.steps)
        at.within = None
        progress.finish_over()

    # --- batches ----------------------------------------------------------------------------------

    def batches(self, given: Given, steps: int | None) -> Iterator[Any]:
        self._block.check("batches()")
        progress, at = self._progress, self._progress.at
        if steps is not None:
            self._check("batches", steps=steps)
            around = self._around(given, steps)
            return self._outer("batches", steps, around, lambda: at.steps)
        left = Sized(self._batches(given), lambda: self._data.num_left(given, done=at.num_done))
        return self._variables.turns(
            left, is_inner=True, is_behind=lambda: progress.is_behind, position=lambda: at.batch
        )

    def _around(self, given: Given, n_steps: int) -> Generator[Any, None, None]:
        """So many batches in all, epoch after epoch; the last epoch stays open in its middle."""
        progress, at = self._progress, self._progress.at
        while progress.has_more(lambda: at.steps < n_steps):
            if not progress.begin_epoch():
                continue
            at.ended = None
            yield from self._batches(given, n_steps)
            if progress.diverged or at.is_in_batches:
                continue
            if not at.batch:
                raise UsageError("these data give no batches, so no number of steps can be reached.")
            progress.finish_epoch()
        progress.is_paused = True
        progress.finish_over(given)

    def _batches(self, given: Given, until_step: int | None = None) -> Generator[Any, None, None]:
        progress, at = self._progress, self._progress.at
        if at.within in (None, "step") or (at.within != "epoch" and not progress.is_behind):
            raise UsageError(
                "run.batches() is used once inside `for epoch in run.epochs(n)`. Several loaders side by side are "
                "run.batches(one, other), in place of zip. Iterate over validation data as they are; for a loop "
                "without epochs there are run.batches(data, steps=n) and run.steps(n)."
            )
        source, rest = self._data.take(given)
        if progress.is_behind:
            assert rest is not None
            iterator, is_over = rest, at.within == "after"
            progress.finish_resume()
        else:
            if rest is not None:
                progress.data_came_late()
            progress.begin_batches()
            iterator, is_over = source.begin(at.epoch), False
        at.within = "after" if is_over else "batches"
        num_batches, is_paused = source.num_batches, False
        try:
            while not is_over and (num_batches is None or at.batch < num_batches):
                is_paused = until_step is not None and at.steps >= until_step
                if is_paused or not progress.begin_batch(epoch=at.epoch, batch=at.batch):
                    break
                with self._loop.at_rest():
                    batch = next(iterator, _END)
                if batch is _END:
                    break
                self._loop.batch_came(batch, self._data.is_foreign)
                yield batch
                progress.finish_batch(at.batch)
                if progress.diverged:
                    break
        finally:  # also where the loop was left by a `break`
            at.within, at.announced = "batches" if is_paused else "after", False
