"""`Run`: a training loop of your own, in any framework, that can be killed at any instant and resumes.

with holdfast.Run("runs/gpt", {"model": model, "optimizer": optimizer}) as run:
    for epoch in run.epochs(10):
        for batch in run.batches(loader):
            run.log(loss=train_step(batch))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..checkpoint import Place
from ..errors import DivergenceError, UsageError
from ..harness import resume_source
from ..policy import Checkpointing, Limits
from ..records import Moment
from ..variables import Mode, Variables
from ._arguments import check_arguments
from ._block import Block
from ._costs import Accounting
from ._loop import Loop
from ._resuming.data import EpochData
from ._resuming.expected import Ahead
from ._resuming.options import Resume
from ._resuming.report import ResumeReport
from ._saving.unsaved import Unsaved
from ._sized import Sized
from ._standalone import numbers
from ._table import Table

Item = TypeVar("Item")
Within = Literal["epoch", "batches", "after", "step"]
"""An epoch before, in, or after its batches; or a step of a loop without epochs."""
Ended = Literal["complete", "stopped"]

_END = object()


class Run:
    """A loop of your own: which epoch and batch it is at, what it trains, what it has logged.

    Entering the `with` block puts the newest complete checkpoint into the objects, if there is one; the loops
    over `epochs`, `batches` and `steps` then begin where it was. Leaving it waits until all is committed.

    Args:
        directory: where checkpoints go, and are looked for.
        state: by name, all that decides what comes next: `{"model": model, "optimizer": optimizer}`, and schedules,
            scalers, random generators, dicts, arrays, whatever `register_adapter` knows. What is not changed in
            place (a number, a JAX array) is replaced in the mapping: `run["params"] = params`, or `state["params"] = params`.
        checkpointing: when to save, what to keep; without one `Checkpointing.default()`.
        resume: True: from the newest complete checkpoint, or from scratch if there is none. A path or name: from
            that one. False: from scratch. `Resume(…)` says more.
        label: the name of what is trained, for names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from an epoch's start, to skip.
        share_directory: run although another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the run after each rollback (`on_divergence="rollback"`), once the objects are as they
            were in the checkpoint: the place to make a step smaller.

    Attributes:
        epoch: the epoch it is in, from 0.
        batch: batches finished of the current loop over `batches`.
        step: updates of the first torch optimizer among the objects; without one, batches (or steps) finished.

    Raises:
        UsageError: the policy cannot work here, or `state` is not a mapping from names to objects.
        PlanMismatchError, StateMismatchError: the checkpoint does not fit the objects; nothing was changed.
        RunActiveError: another live run uses the directory.
        DivergenceError: what is trained is not finite any more, and the policy says to stop.
        DamagedError: there are checkpoints, and none can be used.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        state: Mapping[str, Any],
        *,
        checkpointing: Checkpointing | None = None,
        resume: bool | Place | Resume = True,
        label: str = "train",
        allow_reread: bool = False,
        share_directory: bool = False,
        variables: Mode = "save",
        on_rollback: Callable[[Run], None] | None = None,
    ) -> None:
        check_arguments(
            *(directory, label),
            allow_reread=allow_reread,
            share_directory=share_directory,
            on_rollback=on_rollback,
        )
        if checkpointing is not None:
            Limits(where="a Run").check(checkpointing)
        asked = Resume.of(resume)
        self._block = Block()
        self._variables = Variables(
            variables,
            lambda: self._loop.objects,
            self._own_parts,
            lambda found: self._loop.add_differences(found),
        )
        self._loop = Loop(
            directory,
            checkpointing,
            objects=state,
            position=self._get_position,
            ahead=self._ahead,
            label=label,
            share_directory=share_directory,
            lacking=lambda: () if self._at_work is None else self._at_work.found,
            can_skip=True,
            variables=self._variables,
        )
        self._resume = replace(asked, source=resume_source(asked.source, directory))
        self._on_rollback = on_rollback
        self._diverged: DivergenceError | None = None  # a rollback is due
        self._stack = ExitStack()
        self._unsaved = Unsaved(self._loop.policy)
        self._updates = _watch(self._loop.objects)
        self._attributes = _attributes(self._loop.objects)
        self._has_looked = False
        self._at_work: Any = None  # inside the `with`: who finds what is at work and was not handed over
        self._row: dict[str, float] = {}  # logged since the last batch or epoch ended
        self._latest: dict[str, float] = {}
        # Where the loop is: all of this is saved.
        self.epoch, self.batch = 0, 0
        self._steps = 0
        self._within: Within | None = None
        self._announced = False  # `batch_start` of the next batch has been
        self._ended: Ended | None = None
        self._data = EpochData(allow_reread)
        self._is_behind = False  # restored, and the script has not come to where the checkpoint was
        self._is_paused = False  # all steps are done, perhaps in the middle of an epoch

    # --- the loop ---------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        self._block.enter()
        self._stack.callback(self._block.leave)
        self._stack.callback(self._variables.close)
        try:
            self._stack.enter_context(self._loop.holding())
        except BaseException:
            self._stack.close()
            raise
        if self._updates is not None:
            self._stack.callback(self._updates.close)
            self._at_work = _at_work(lambda: self._loop.objects, self._variables.held)
            self._stack.callback(self._at_work.close)
        try:
            saved = self._loop.resume(self._resume)
            if saved is None:
                self._announce("phase_start")
            else:
                self._set_position(saved)
        except BaseException as err:
            self._stack.__exit__(type(err), err, err.__traceback__)
            raise
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None or self._is_behind:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()
        self._unsaved.check(self.accounting)

    def _finish(self) -> None:
        """The script has left the loops for good."""
        if self._diverged is None and self._within is not None and not self._is_paused:
            self._ended = "stopped"  # the outer loop was left by a `break`
            self._loop.stop("the loop was left by a break")
            if self._within != "step":
                self._finish_epoch()
        if self._diverged is None and self._ended != "complete":
            self._ended = self._ended or "complete"
            self._announce("phase_end")
        if self._diverged is not None:
            raise self._diverged  # too late to go back

    def epochs(self, n_epochs: int) -> Iterator[int]:
        """The epochs still to be trained, of `n_epochs` in all; none if a `break` had ended the loop.

        `len()` is how many these are.

        Raises:
            UsageError: `n_epochs` is no integer >= 0, or this is outside of the `with` block or inside another loop.
        """
        self._block.check_loop("epochs")
        _check_count("n_epochs", n_epochs)
        return self._turns(
            self._epochs(n_epochs), lambda: self.epoch, lambda: n_epochs - self.epoch, total=n_epochs
        )

    def _epochs(self, n_epochs: int) -> Generator[int, None, None]:
        with self._block.looping("epochs"):
            yield from self._epochs_left(n_epochs)

    def _epochs_left(self, n_epochs: int) -> Iterator[int]:
        while self._has_more(lambda: self.epoch < n_epochs or self._within is not None):
            if not self._enter_epoch():
                continue
            yield self.epoch
            if not self.diverged:
                self._finish_resume()
                self._finish_epoch()
        self._finish_resume(is_at_place=False)

    def _enter_epoch(self) -> bool:
        """Begin an epoch, or be in the one in which the checkpoint was; False if a rollback is due instead."""
        if self._within is None:
            self._finish_resume()
            self.batch, self._within, self._ended = 0, "epoch", None
            self._announce("epoch_start", epoch=self.epoch)
        elif self._within == "epoch":
            self._finish_resume()
        return not self.diverged

    def _has_more(self, has_more: Callable[[], bool]) -> bool:
        """Whether there is another epoch or step; a rollback that is due, or shows only now, happens here."""
        while True:
            if self._ended == "stopped":
                return False
            if not (self.diverged or has_more()):
                self._minding(self._loop.look)
            if self._diverged is None:
                return has_more()
            why, self._diverged = self._diverged, None
            self._set_position(self._loop.roll_back(why))
            if self._on_rollback is not None:
                with self._variables.changes_win():
                    self._on_rollback(self)

    def batches(
        self, data: Iterable[Item], *, steps: int | None = None, batch_size: int | None = None, seed: int = 0
    ) -> Iterator[Item]:
        """The batches of `data` still to come in this epoch, as `data` gives them; once in an epoch.

        With `steps`, and outside of `epochs`: of so many batches in all those still to come, epoch after epoch of `data`.
        When they are done the run is complete; with more steps it resumes right there, also within an epoch.

        A `DataLoader`, a loader with a state of its own, a list of batches, or a `holdfast.data.Dataset` (then
        `batch_size` and `seed` are used) resumes in mid-epoch; see `holdfast.data.batches_of`. Code between
        `epochs` and this runs again when an epoch is entered in its middle; code after it does not.
        `len()` is how many batches these are, if the data say how many they have.

        Raises:
            UsageError: not inside `epochs` (with `steps`: inside), a second time in one epoch, or the data cannot
                resume here.
        """
        self._block.check("batches()")
        if steps is not None:
            _check_count("steps", steps)
            self._block.check_loop("batches")
            inner = self._around(data, steps, batch_size, seed)
            return self._turns(inner, lambda: self._steps, lambda: steps - self._steps, total=steps)
        sized = Sized(
            self._batches(data, batch_size, seed),
            lambda: self._data.num_left(data, batch_size, seed, done=self._num_done()),
        )
        return self._variables.turns(
            sized, is_inner=True, is_behind=lambda: self._is_behind, position=lambda: self.batch
        )

    def _turns(
        self,
        inner: Generator[Item, None, None],
        position: Callable[[], int],
        num_left: Callable[[], int],
        *,
        total: int,
    ) -> Iterator[Item]:
        """An outer loop of the script over `inner`."""
        sized = Sized(inner, lambda: 0 if self._ended == "stopped" else max(0, num_left()))
        return self._variables.turns(sized, is_behind=lambda: self._is_behind, position=position, total=total)

    def _around(
        self, data: Iterable[Item], n_steps: int, batch_size: int | None, seed: int
    ) -> Generator[Item, None, None]:
        """So many batches in all, epoch after epoch; the last epoch stays open in its middle."""
        with self._block.looping("batches"):
            while self._has_more(lambda: self._steps < n_steps):
                if not self._enter_epoch():
                    continue
                self._ended = None
                yield from self._batches(data, batch_size, seed, n_steps)
                if self.diverged or self._within == "batches":
                    continue
                if not self.batch:
                    raise UsageError("these data give no batches, so no number of steps can be reached.")
                self._finish_epoch()
            self._is_paused = True
            self._finish_resume()

    def _num_done(self) -> int:
        """Batches of this epoch that are done."""
        return self.batch if self._within in ("batches", "after") else 0

    def _batches(
        self, data: Iterable[Item], batch_size: int | None, seed: int, until_step: int | None = None
    ) -> Generator[Item, None, None]:
        if self._within in (None, "step") or (self._within != "epoch" and not self._is_behind):
            raise UsageError(
                "run.batches() is used once inside `for epoch in run.epochs(n)`. Iterate over validation data as "
                "they are; for a loop without epochs there are run.batches(data, steps=n) and run.steps(n)."
            )
        source, rest = self._data.take(data, batch_size, seed)
        if self._is_behind:
            assert rest is not None
            iterator, is_over = rest, self._within == "after"
            self._finish_resume()
        else:
            if rest is not None:  # between two epochs: only now are the data here
                self._loop.add_differences(self._differences())
            iterator, is_over = source.begin(self.epoch), False
        self._within = "after" if is_over else "batches"
        num_batches, is_paused = source.num_batches, False
        try:
            while not is_over and (num_batches is None or self.batch < num_batches):
                if until_step is not None and self._steps >= until_step:
                    is_paused = True
                    break
                if not self._announced:  # before the batch is taken, so that resuming from here takes it
                    self._announced = True
                    self._announce("batch_start", epoch=self.epoch, batch=self.batch)
                    if self.diverged:
                        break
                with self._loop.at_rest():
                    batch = next(iterator, _END)
                if batch is _END:
                    break
                yield batch  # type: ignore[misc]
                self._finish_batch(self.batch)
                if self.diverged:
                    break
        finally:  # also where the loop was left by a `break`
            self._within, self._announced = "batches" if is_paused else "after", False

    def steps(self, n_steps: int) -> Iterator[int]:
        """The steps still to be done, of `n_steps` in all: for a loop without epochs. Each is a batch of epoch 0.

        `len()` is how many these are.

        Raises:
            UsageError: `n_steps` is no integer >= 0, or this is outside of the `with` block or inside another loop.
        """
        self._block.check_loop("steps")
        _check_count("n_steps", n_steps)
        return self._turns(
            self._steps_loop(n_steps), lambda: self._steps, lambda: n_steps - self._steps, total=n_steps
        )

    def _steps_loop(self, n_steps: int) -> Generator[int, None, None]:
        with self._block.looping("steps"):
            yield from self._steps_left(n_steps)

    def _steps_left(self, n_steps: int) -> Iterator[int]:
        while self._has_more(lambda: self._steps < n_steps):
            self._finish_resume()
            self._within, self._ended = "step", None
            if not self._announced:
                self._announced = True
                self._announce("batch_start", epoch=0, batch=self._steps)
                if self.diverged:
                    continue
            yield self._steps
            self._finish_batch(self._steps)
        self._within = None
        self._finish_resume(is_at_place=False)

    def ignore(self, *patterns: str) -> None:
        """Leave these variables of the script alone: `run.ignore("t0", "timing_*", "self.timer")`.

        They are neither saved nor named. A pattern means a variable, an attribute, and all that is below it.

        Raises:
            UsageError: a pattern is no text.
        """
        self._variables.ignore(patterns)

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Keep numbers (Python's, or arrays of one element) as columns of `results`; with a checkpoint go the latest.

        By keyword, `run.log(loss=loss)`, or as a mapping, `run.log({"val/loss": loss})`. What is logged between two
        ends of batches or epochs is one row.

        Raises:
            UsageError: it is not a mapping from names to numbers, or this is outside of the `with` block; nothing was logged.
        """
        self._block.check("log()")
        row = numbers({} if metrics is None else metrics) | numbers(more)
        self._row |= row
        self._latest |= row

    def save(self, name: str, *, overwrite: bool = True) -> Path:
        """Save now, under this name; returns the bundle's path once it is committed.

        Inside a batch the batch counts as not done: resuming from here does it again, from the objects as
        they are now. Best called between batches.

        Raises:
            UsageError: the name cannot be one, or this is outside of the `with` block.
            CheckpointExistsError: it is taken and `overwrite` is False.
            SaveError: the disk refused.
        """
        self._block.check("save()")
        return self._loop.save(name, overwrite=overwrite, metrics=self._latest)

    # --- what there is ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """The object of this name; after a resume, what was restored.

        Raises:
            UsageError: there is none.
        """
        self._check_name(name)
        return self._loop.objects[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Put a new value in the place of an object that is not changed in place."""
        self._check_name(name)
        self._loop.replace(name, value)
        if self._updates is not None and hasattr(value, "param_groups"):
            self._updates.follow(self._loop.objects)

    def _check_name(self, name: str) -> None:
        if name not in self._loop.objects:
            known = ", ".join(map(repr, self._loop.objects))
            raise UsageError(
                f"this run has no object {name!r}; it has {known}. Pass it to Run by this name, so that it is saved."
            )

    @property
    def step(self) -> int:
        if self._updates is not None and self._updates.is_counting:
            return self._updates.count
        return self._steps

    @property
    def moment(self) -> Moment:
        """The hook that was announced last."""
        return self._loop.moment

    @property
    def results(self) -> Table:
        """What was logged, a row per batch or epoch that logged something."""
        return self._loop.results

    @property
    def last_resume(self) -> ResumeReport | None:
        """From where it resumed, and how exactly; None if from scratch."""
        return self._loop.last_resume

    @property
    def diverged(self) -> bool:
        """Whether a rollback is due: it happens as soon as the outer loop, over epochs or steps, continues.

        Code between the end of `batches` and there still runs once. What it does to the run's objects is undone;
        what it does elsewhere (a file, a message) it should leave out while this is true.
        """
        return self._diverged is not None

    @property
    def rollbacks(self) -> int:
        """How often the run has been rolled back."""
        self._block.check_begun("rollbacks")
        return self._loop.rollbacks

    @property
    def accounting(self) -> Accounting:
        """What saving has cost so far."""
        self._block.check_begun("accounting")
        return self._loop.accounting

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: objects, position, results, random states.

        Raises:
            UsageError: the `with` block has not been entered.
        """
        self._block.check_begun("state_digest()")
        return self._loop.state_digest()

    def __repr__(self) -> str:
        return f"<Run of {self._loop.label!r} in {self._loop.path}: epoch {self.epoch}, batch {self.batch}, step {self.step}>"

    # --- its position -----------------------------------------------------------------------------

    def _finish_batch(self, index: int) -> None:
        self.batch, self._steps = index + 1, self._steps + 1
        self._announced = False
        self._end_row()
        self._announce("batch_end", epoch=self.epoch, batch=index)
        if self._within == "step":
            self._unsaved.trained()

    def _finish_epoch(self) -> None:
        epoch, self.epoch = self.epoch, self.epoch + 1
        self._within = None
        self._end_row(epoch)
        self._announce("epoch_end", epoch=epoch)
        self._unsaved.trained()

    def _end_row(self, epoch: int | None = None) -> None:
        if self._row:
            at = self.epoch if epoch is None else epoch
            self.results.append({"step": self.step, "epoch": at, **self._row})
            self._row = {}

    def _announce(self, hook: str, *, epoch: int | None = None, batch: int | None = None) -> None:
        self._look_at_work(hook)
        self._minding(
            lambda: self._loop.announce(hook, epoch=epoch, batch=batch, step=self.step, metrics=self._latest)
        )

    def _look_at_work(self, hook: str) -> None:
        """Find what is at work and not saved: in the loop, where the script's variables are known."""
        if self._at_work is not None and self._variables.has_begun:
            closely = hook == "epoch_end" or not self._has_looked
            self._has_looked = True
            self._loop.lack(self._at_work.look(closely=closely))

    def _minding(self, act: Callable[[], None]) -> None:
        """Do it; if it finds that the run diverged, and may be rolled back, say so and leave that to the outer loop."""
        try:
            act()
        except DivergenceError as err:
            if not err.can_roll_back:
                raise
            self._diverged = err

    def _get_position(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "steps": self._steps,
            "updates": self.step,
            "within": self._within,
            "announced": self._announced,
            "ended": self._ended,
            "row": dict(self._row),
            "latest": dict(self._latest),
            "gradients": {} if self._updates is None else self._updates.pending,
            **({"attributes": attributes} if (attributes := self._get_attributes()) else {}),
            **self._data.get_state(self._is_in_batches),
        }

    def _set_position(self, saved: Mapping[str, Any]) -> None:
        self.epoch, self.batch, self._steps = saved["epoch"], saved["batch"], saved["steps"]
        self._within, self._announced, self._ended = saved["within"], saved["announced"], saved["ended"]
        self._row, self._latest = dict(saved["row"]), dict(saved["latest"])
        if self._updates is not None:
            self._updates.follow(self._loop.objects)
            self._updates.resume(saved["updates"], saved["gradients"])
        if self._attributes is not None:
            self._loop.add_differences(self._attributes.set_state(saved.get("attributes", {})))
        self._data.set_state(saved)
        self._is_behind = True

    def _get_attributes(self) -> Mapping[str, Any]:
        return {} if self._attributes is None else self._attributes.get_state()

    @property
    def _is_in_batches(self) -> bool:
        return self._within == "batches"

    def _ahead(self) -> Ahead:
        return self._data.ahead(self._is_in_batches)

    def _differences(self) -> list[str]:
        return [*self._data.differences(self._is_in_batches), *self._variables.differences]

    def _own_parts(self) -> list[Any]:
        """What of the run the script's variables may hold."""
        return [self, self._loop, self.results, *self._data.own_parts]

    def _finish_resume(self, *, is_at_place: bool = True) -> None:
        """The script has come to where the checkpoint was: from here on everything is as it would have been.

        `is_at_place`: it is this loop; not one that was over by then.
        """
        if self._is_behind:
            self._is_behind = False
            self._variables.put_back(is_last=is_at_place)
            self._loop.finish_resume(self._differences)


def _watch(objects: Mapping[str, Any]) -> Any:
    """Who counts updates and knows gradients; None where torch is not loaded."""
    if "torch" not in sys.modules:
        return None
    from .torch_updates import Updates

    return Updates(objects)


def _attributes(objects: Mapping[str, Any]) -> Any:
    """Who knows what modules keep for themselves; None where torch is not loaded."""
    if "torch" not in sys.modules:
        return None
    from .torch_watch.attributes import Attributes

    return Attributes(objects)


def _at_work(objects: Callable[[], Mapping[str, Any]], variables: Callable[[], Mapping[str, Any]]) -> Any:
    """Who finds what is at work and not among what is saved; only where torch is loaded."""
    from .torch_watch.at_work import AtWork

    return AtWork(objects, variables)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{name} must be an integer >= 0, not {value!r}.")
