"""`Run`: a training loop of your own, in any framework, that can be killed at any instant and resumes.

with holdfast.Run("runs/gpt", {"model": model, "optimizer": optimizer}) as run:
    for epoch in run.epochs(10):
        for batch in run.batches(loader):
            run.log(loss=train_step(batch))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, overload

from ..checkpoint import Place
from ..data import Until
from ..errors import UsageError
from ..harness import resume_source
from ..policy import Checkpointing, Limits
from ..records import Moment
from ..variables import Mode, Variables
from ._arguments import check_arguments
from ._costs import Accounting
from ._loop import Loop
from ._looping.block import Block
from ._looping.loops import Loops
from ._looping.progress import Progress
from ._looping.torch_objects import TorchObjects
from ._numbers import logged
from ._resuming.data import EpochData, Given
from ._resuming.expected import Ahead
from ._resuming.hyperparameters import is_optimizer
from ._resuming.options import Resume
from ._resuming.report import ResumeReport
from ._saving.values import OUTSIDE, Values
from ._table import Table

Item = TypeVar("Item")


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
        self._resume = replace(asked, source=resume_source(asked.source, directory))
        self._on_rollback = on_rollback
        self._block, self._stack = Block(), ExitStack()
        self._variables = Variables(
            variables,
            lambda: {**self._loop.values.in_place, **self._loop.objects},
            self._own_parts,
            lambda found: self._loop.add_differences(found),
        )
        self._loop = Loop(
            directory,
            checkpointing,
            objects=state,
            position=lambda: self._progress.get_state(),
            ahead=self._ahead,
            label=label,
            share_directory=share_directory,
            lacking=lambda: self._torch.lacking,
            can_skip=True,
            variables=self._variables,
            values=Values(
                lambda: self._progress.place if self._block.is_looping else OUTSIDE,
                lambda: self._progress.places_again,
            ),
            may_be_several=True,
        )
        adapts = self._resume.on_structure is not None
        self._torch = TorchObjects(self._loop.objects, adapts=adapts)
        self._data = EpochData(allow_reread, self._loop.policy, self._variables.kept)
        self._progress = Progress(
            *(self._loop, self._variables, self._torch, self._data, self._rolled_back),
            is_looping=lambda: self._block.is_looping,
        )
        self._loops = Loops(self._block, self._loop, self._progress, self._data, self._variables)

    # --- the block --------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        self._block.enter()
        self._stack.callback(self._block.leave)
        self._stack.callback(self._variables.close)
        try:
            self._stack.enter_context(self._loop.holding())
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self._torch.close)
        self._torch.begin(self._variables.held, lambda found: self._loop.lack(found, self._progress.advice))
        try:
            saved = self._loop.resume(self._resume)
            if saved is None:
                self._progress.announce("phase_start")
            else:
                self._progress.set_state(saved)
        except BaseException as err:
            self._stack.__exit__(type(err), err, err.__traceback__)
            raise
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None or self._progress.is_behind:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()
        self._progress.check_saved()

    def _finish(self) -> None:
        self._progress.finish()

    def _rolled_back(self) -> None:
        if self._on_rollback is not None:
            with self._variables.changes_win(), self._loop.values.changes_win():
                self._on_rollback(self)

    def _ahead(self) -> Ahead:
        return self._data.ahead(self._progress.at.is_in_batches)

    def _own_parts(self) -> list[Any]:
        """What of the run the script's variables may hold."""
        return [self, self._loop, self._loop.objects, self.results, *self._data.own_parts]

    # --- the loops --------------------------------------------------------------------------------

    def epochs(self, n_epochs: int) -> Iterator[int]:
        """The epochs still to be trained, of `n_epochs` in all; none if a `break` had ended the loop.

        `len()` is how many these are.

        Raises:
            UsageError: `n_epochs` is no integer >= 0, or this is outside of the `with` block or inside another loop.
        """
        return self._loops.epochs(n_epochs)

    @overload
    def batches(
        self,
        data: Iterable[Item],
        /,
        *,
        steps: int | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> Iterator[Item]: ...
    @overload
    def batches(
        self,
        data: Iterable[Any],
        other: Iterable[Any],
        /,
        *more: Iterable[Any],
        until: Until = "shortest",
        steps: int | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> Iterator[tuple[Any, ...]]: ...
    def batches(
        self,
        *data: Iterable[Any],
        until: Until = "shortest",
        steps: int | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> Iterator[Any]:
        """The batches of `data` still to come in this epoch, as `data` gives them; once in an epoch.

        Of several data: tuples of a batch of each, as `zip` gives them. An epoch ends with the shortest of them; with
        `until="longest"` the others start over where they end, and continue from epoch to epoch.

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
        return self._loops.batches(
            Given(data, until, batch_size, seed, self._variables.is_made_in_loop), steps
        )

    def steps(self, n_steps: int) -> Iterator[int]:
        """The steps still to be done, of `n_steps` in all: for a loop without epochs. Each is a batch of epoch 0.

        `len()` is how many these are.

        Raises:
            UsageError: `n_steps` is no integer >= 0, or this is outside of the `with` block or inside another loop.
        """
        return self._loops.steps(n_steps)

    # --- the script -------------------------------------------------------------------------------

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
        self._progress.log(logged(more) if metrics is None else logged(metrics) | logged(more))

    def save(self, name: str, *, overwrite: bool = True) -> Path:
        """Save now, under this name; returns the bundle's path once it is committed.

        At the end of a turn of the loop (nothing comes after it but prints, logging and the like) the turn counts as done, at
        its beginning as not done. In the middle of one, or where that cannot be told, it is saved with a warning, and no resume
        from there is exact: what is before it would be done twice, or what is after it never.

        Raises:
            UsageError: the name cannot be one, or this is outside of the `with` block.
            CheckpointExistsError: it is taken and `overwrite` is False.
            SaveError: the disk refused.
        """
        self._block.check("save()")
        metrics = dict(self._progress.latest)
        with self._progress.saving_manually() as lost:
            return self._loop.save(name, overwrite=overwrite, metrics=metrics, lacking=lost)

    # --- what there is ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """The object or value of this name; after a resume, what was restored.

        Raises:
            UsageError: there is none.
        """
        if name in self._loop.objects:
            return self._loop.objects[name]
        if name in self._loop.values.live:
            return self._loop.values.live[name]
        known = ", ".join(map(repr, [*self._loop.objects, *self._loop.values.live]))
        raise UsageError(
            f"this run has nothing called {name!r}; it has {known}. Pass it to Run by this name, or set it: run[{name!r}] = …"
        )

    def __setitem__(self, name: str, value: Any) -> None:
        """Put a new value in the place of an object that is not changed in place; or set a value of a name of its own.

        A value of its own is saved and comes back without having been handed over: numbers, text, arrays, tensors,
        and containers of these. Where the run resumes, what was saved takes the place of what the script sets before it
        is where the checkpoint was: so a line before the loop gives the start value.

        Raises:
            UsageError: there can be no such name.
            UnsupportedStateError: a value cannot be saved, or only as an object that is handed over.
        """
        if name not in self._loop.objects:
            self._loop.values.set(name, value)
            return
        self._loop.replace(name, value)
        if is_optimizer(value):
            self._torch.follow()

    def __contains__(self, name: object) -> bool:
        """Whether there is an object or value of this name."""
        return name in self._loop.objects or name in self._loop.values.live

    @property
    def epoch(self) -> int:
        return self._progress.at.epoch

    @property
    def batch(self) -> int:
        return self._progress.at.batch

    @property
    def step(self) -> int:
        return self._progress.step

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
        return self._progress.diverged is not None

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
