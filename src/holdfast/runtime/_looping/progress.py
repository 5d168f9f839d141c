"""The progress of a run: its position, told to its `Loop` at each hook, and set at a resume and a rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from typing import Any, final

from ...errors import DivergenceError
from ...variables import Variables, place_in_turn
from .._loop import Loop
from .._numbers import Numbers, OnDevice
from .._resuming.data import EpochData, Given
from .._saving.lacking import ADVICE
from .._saving.unsaved import Unsaved
from .._saving.values import OUTSIDE
from .position import Position
from .preparing import Preparing
from .torch_objects import TorchObjects


@final
class Progress:
    """Moves the position on.

    Args:
        on_rollback: called after each rollback.
        is_looping: whether one of the run's outer loops runs.

    Attributes:
        is_behind: restored, and the script has not come to where the checkpoint was.
        is_paused: all steps are done, perhaps in the middle of an epoch.
        diverged: why a rollback is due.
        advice: what to do with something that is at work and not among the objects.
    """

    def __init__(
        self,
        loop: Loop,
        variables: Variables,
        torch: TorchObjects,
        data: EpochData,
        on_rollback: Callable[[], None],
        is_looping: Callable[[], bool],
    ) -> None:
        self.at = Position()
        self.is_behind = self.is_paused = False
        self.diverged: DivergenceError | None = None
        self.advice = ADVICE
        self._loop, self._variables, self._torch, self._data = loop, variables, torch, data
        self._on_rollback, self._is_looping = on_rollback, is_looping
        self._unsaved = Unsaved(loop.policy)
        self._preparing = Preparing()

    @property
    def step(self) -> int:
        updates = self._torch.num_updates
        return self.at.steps if updates is None else updates

    @property
    def place(self) -> str | None:
        """Where the script is in the loop over epochs, before the batches; None if it is in the middle of a loop."""
        is_before_batches = self.at.within == "epoch" or self.is_behind
        return f"epoch {self.at.epoch}" if is_before_batches else None

    @property
    def places_again(self) -> tuple[str, ...]:
        """The places that a script comes through once more, if it resumes from here."""
        return (OUTSIDE, f"epoch {self.at.epoch}") if self.at.within in ("batches", "after") else (OUTSIDE,)

    # --- hooks ------------------------------------------------------------------------------------

    def announce(self, hook: str, *, epoch: int | None = None, batch: int | None = None) -> None:
        """The run is at this hook."""
        if (
            self._variables.has_begun
        ):  # before, the script's variables are not known, and might hold what is missing
            self._torch.at(hook)
        try:
            self._loop.announce(hook, epoch=epoch, batch=batch, step=self.step, metrics=self.latest)
        except DivergenceError as err:
            self._mind(err)

    def begin_batch(self, *, epoch: int, batch: int) -> bool:
        """Before a batch is taken, so that resuming from here takes it; False if a rollback is due instead."""
        if not self.at.announced:
            self.at.announced = True
            if not self._loop.begins_where_it_ended(epoch=epoch, batch=batch, step=self.step):
                self.announce("batch_start", epoch=epoch, batch=batch)
            return self.diverged is None
        return True

    def finish_batch(self, index: int) -> None:
        at = self.at
        at.batch, at.steps, at.announced = index + 1, at.steps + 1, False
        self._end_row(at.epoch)
        if not self._loop.passes(epoch=at.epoch, batch=index, step=self.step):
            self.announce("batch_end", epoch=at.epoch, batch=index)
        if at.within == "step":
            self._unsaved.trained()

    def begin_epoch(self) -> bool:
        """Begin an epoch, or be in the one in which the checkpoint was; False if a rollback is due instead."""
        at = self.at
        if at.within in (None, "epoch"):
            self.finish_resume()
        if at.within is None:
            at.batch, at.within, at.ended = 0, "epoch", None
            self.announce("epoch_start", epoch=at.epoch)
        return self.diverged is None

    def enter_epoch(self) -> None:
        """The script runs what is between `epochs` and `batches`, once more if the checkpoint was in an epoch."""
        self._preparing.begin(is_again=self.is_behind and self.at.within in ("batches", "after"))

    def begin_batches(self) -> None:
        """The batches of an epoch begin, of which none has been."""
        self._preparing.end()

    def finish_epoch(self) -> None:
        at = self.at
        epoch, at.epoch, at.within = at.epoch, at.epoch + 1, None
        self._end_row(epoch)
        self.announce("epoch_end", epoch=epoch)
        self._unsaved.trained()

    def finish(self) -> None:
        """The script has come to the end of its `with` block, without an error.

        Raises:
            DivergenceError: a rollback is due, and it is too late for one.
        """
        at = self.at
        self._loop.conclude_resume(lambda: self._differences(is_measured=False))
        if self.diverged is None and at.within is not None and not self.is_paused:
            at.ended = "stopped"  # the outer loop was left by a `break`
            self._loop.stop("the loop was left by a break")
            if at.within != "step":
                self.finish_epoch()
        if self.diverged is None and at.ended != "complete":
            at.ended = at.ended or "complete"
            self.announce("phase_end")
        if self.diverged is not None:
            raise self.diverged

    def check_saved(self) -> None:
        """All is committed: raise NothingSavedError if nothing was ever saved."""
        self._unsaved.check(self._loop.accounting)

    def log(self, row: Mapping[str, float | OnDevice]) -> None:
        self.at.row |= row
        self.at.latest |= row

    @property
    def latest(self) -> Mapping[str, float]:
        """The newest value of each name that was logged."""
        return Numbers(self.at.latest)

    def _end_row(self, epoch: int) -> None:
        if self.at.row:
            self._loop.results.append({"step": self.step, "epoch": epoch, **self.at.row})
            self.at.row = {}

    @contextmanager
    def saving_manually(self) -> Iterator[list[str]]:
        """Inside, the position is where a resume from a checkpoint of this moment is to begin: a turn of which nothing is left but what
        tells of it is done. Gives a sentence if that cannot be: a resume would leave something out, or do something twice."""
        at = self.at
        if not self._is_looping():
            yield []
            return
        loop = {"step": "steps", "batches": "batches"}.get(at.within or "", "epochs")
        place = place_in_turn(loop, is_after_batches=at.within == "after")
        if not place.is_last:
            begins = "with the next turn, so what comes after it in this one is never done"
            if loop != "batches":
                begins = "with this turn, so what came before it is done twice"
            is_begun = place.is_first and loop != "batches"
            yield (
                []
                if is_begun
                else [
                    f"the save at {place.line} is in the middle of a turn of run.{loop}: a resume begins {begins}"
                ]
            )
            return
        before = replace(at)
        if loop == "epochs":
            at.epoch, at.within = at.epoch + 1, None
        else:
            at.batch = (at.steps if loop == "steps" else at.batch) + 1
            at.steps, at.announced = at.steps + 1, False
        row, at.row = {"step": self.step, "epoch": before.epoch, **at.row} if at.row else None, {}
        with nullcontext() if row is None else self._loop.results.with_row(row):
            try:
                yield []
            finally:
                for each in fields(at):
                    setattr(at, each.name, getattr(before, each.name))

    # --- rollbacks --------------------------------------------------------------------------------

    def has_more(self, has_more: Callable[[], bool]) -> bool:
        """Whether there is another epoch or step; a rollback that is due, or shows only now, happens here."""
        while True:
            if self.at.ended == "stopped":
                return False
            if not (self.diverged or has_more()):
                try:
                    self._loop.look()
                except DivergenceError as err:
                    self._mind(err)
            if self.diverged is None:
                return has_more()
            why, self.diverged = self.diverged, None
            self.set_state(self._loop.roll_back(why))
            self._on_rollback()

    def _mind(self, err: DivergenceError) -> None:
        """The run diverged: if it may be rolled back, say so and leave that to the outer loop."""
        if not err.can_roll_back:
            raise err
        self.diverged = err

    # --- saving and resuming ----------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        return {
            **self.at.get_state(),
            "updates": self.step,
            **self._torch.get_state(),
            **(self._preparing.get_state() if self.at.within in ("batches", "after") else {}),
            **self._data.get_state(self.at.is_in_batches),
        }

    def set_state(self, saved: Mapping[str, Any]) -> None:
        self.at.set_state(saved)
        self._loop.add_differences(self._torch.set_state(saved))
        self._data.set_state(saved)
        self._preparing.set_state(saved)
        self.is_behind = True

    def finish_resume(self, *, is_at_place: bool = True) -> None:
        """The script has come to where the checkpoint was: from here on everything is as it would have been.

        `is_at_place`: it is this loop; not one that was over by then.
        """
        self._finish_resume(self._differences, is_at_place=is_at_place, is_measured=self._is_measured)

    def finish_over(self, given: Given | None = None) -> None:
        """The loop has ended; if the script has not come to where the checkpoint was, nothing was left to train.

        `given`: the data of this loop; without them they would have been given within it.
        """
        self._finish_resume(
            lambda: [*self._differences(is_measured=False), *self._data.differences_when_over(given)],
            is_at_place=given is not None,
            is_measured=False,
        )

    def _finish_resume(
        self, find: Callable[[], Sequence[str]], *, is_at_place: bool, is_measured: bool
    ) -> None:
        if self.is_behind:
            self.is_behind = False
            self._variables.put_back(is_last=is_at_place)
            self._loop.finish_resume(find, is_in_script=is_at_place, is_measured=is_measured)

    @property
    def _is_measured(self) -> bool:
        """Whether the next batch is, or will be, compared with the one that came after the checkpoint."""
        return self._loop.knows_next_batch and self._data.was_foreign

    def data_came_late(self) -> None:
        """The checkpoint was between two epochs, and only now are the data here."""
        self._loop.add_differences(self._differences())

    def _differences(self, *, is_measured: bool | None = None) -> list[str]:
        is_measured = self._is_measured if is_measured is None else is_measured
        found = self._data.differences(self.at.is_in_batches, is_measured=is_measured)
        return [*found, *self._variables.differences]
