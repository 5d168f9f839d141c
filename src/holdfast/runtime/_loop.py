"""`Loop`: makes any training loop resumable, whenever it is killed.

The loop announces its hooks; a policy says when to save; live objects, the loop's own position, what was
logged and the random states are one checkpoint. Every integration stands on this.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from .. import fingerprint, rng, state
from ..data import ANOTHER_BATCH, digest_of_batch
from ..errors import DivergenceError, UsageError
from ..harness import place
from ..policy import Checkpointing, attach_to_training, check_name, settle_mode
from ..records import RESERVED, Moment
from ..variables import Variables
from ._calm import Calm
from ._costs import Accounting
from ._directory import ExperimentDirectory
from ._hooks import Hooks
from ._resuming.expected import Ahead, generators_in
from ._resuming.options import Resume
from ._resuming.proof import prove
from ._resuming.report import ResumeReport, Resumption
from ._resuming.restoring import Restoring
from ._resuming.resume import BUILD, resume_from
from ._resuming.said import ended, nothing_trained, say
from ._saving.lacking import ADVICE, warn_lacking
from ._saving.manual import save_manually
from ._saving.parts import Parts
from ._saving.values import Values
from ._session import Session
from ._table import Table
from ._together.find import check, check_resume, ranks_of

logger = logging.getLogger("holdfast")

Position = Mapping[str, Any]
"""Where a loop is, as plain data and arrays; what is in it is the loop's own affair."""

_SKIP = (
    "Build the objects as they were when saved; where the loop itself changes their structure (pruning, unfreezing), let "
    "Resume(on_structure=…) of a Run bring them to that of the checkpoint; or pass resume=Resume(strict=False): what does not fit then stays as the "
    "script has made it, and the verdict says so; or start again with resume=False in another directory."
)


@final
class Loop:
    """A loop's hold on its directory, its policy, and the live objects that it trains.

    Args:
        directory: where checkpoints go, unless the policy has a directory of its own.
        checkpointing: when to save, to disk; a copy of it if it has a parent already.
        objects: live objects and plain values by name: all that decides what comes next. A value that is
            not changed in place (a number, a JAX array) is replaced in this mapping by a restore, and has to be
            replaced in it by the loop or its user.
        position: asked at each save where the loop is.
        ahead: asked at each save and at a resume what comes next: the next batch, and generators that are not
            among the objects.
        label: the name that stands in for the phase in moments and names.
        share_directory: run although another live run uses the directory.
        can_skip: whether `resume=Resume(strict=False)` works here, so that errors may name it.
        untrained: patterns of paths, among the objects, of what is not trained and need not be finite.
        lacking: asked at each save for what is at work and is not among the objects, in sentences.
        variables: the script's own, which are saved with the objects.
        values: those that the script sets by name.
        may_be_several: whether processes that have one of the objects together may have the loop together.

    Attributes:
        path: the directory.

    Raises:
        UsageError: the policy cannot work, or an object has a name of the library's own.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        checkpointing: Checkpointing | None,
        *,
        objects: Mapping[str, Any],
        position: Callable[[], Position],
        ahead: Callable[[], Ahead] = Ahead,
        label: str = "train",
        share_directory: bool = False,
        untrained: Sequence[str] = (),
        lacking: Callable[[], Sequence[str]] = lambda: (),
        can_skip: bool = False,
        variables: Variables | None = None,
        values: Values | None = None,
        may_be_several: bool = False,
    ) -> None:
        self.policy = attach_to_training(Checkpointing.default() if checkpointing is None else checkpointing)
        settle_mode(self.policy, on_disk=True)
        if self.policy.mode != "disk":
            raise UsageError("a loop of your own saves to disk: leave mode out, or pass mode='disk'.")
        self.label = label
        self._own = Parts(
            *(objects, label, self.policy, position, lacking, variables, values or Values()),
            ahead=lambda: self._ahead(),
        )
        self._may_be_several = may_be_several
        self._at: tuple[str, int | None, int | None, int] = "phase_start", None, None, 0
        self._known_ahead = ahead
        self._asked = Resume()  # how to resume; a rollback does it in the same way
        self._resumption: Resumption | None = None
        self._has_begun = False  # another resume is a rollback
        self._has_trained = False  # in this process
        self._told: set[str] = set()  # of manual saves
        self._next_batch: str | None = None  # after the checkpoint, by digest, until it is compared
        self.path = place(directory)
        self._folder = Path(place(self.policy.directory or directory))
        self._share, self._untrained = share_directory, untrained
        self._advice = _SKIP if can_skip else BUILD
        # From `holding` on:
        self._directory: ExperimentDirectory
        self._session: Session
        self._hooks: Hooks
        self._calm: Calm

    @property
    def objects(self) -> MutableMapping[str, Any]:
        """The live objects."""
        return self._own.objects

    @property
    def results(self) -> Table:
        """What was logged: a table that only grows."""
        return self._own.results

    @property
    def moment(self) -> Moment:
        """Where the run is."""
        hook, epoch, batch, step = self._at
        return Moment(run=self.run, hook=hook, phase=self.label, epoch=epoch, batch=batch, step=step)

    @property
    def run(self) -> str:
        """The run's id; that of the checkpoint, once it resumes from one."""
        return self._own.run

    def _open(self) -> None:
        ranks = self._own.ranks
        if ranks.are_several:
            self._own.run = ranks.first(lambda: self.run)
        opened: list[ExperimentDirectory] = []

        def open_it() -> None:
            opened.append(
                ExperimentDirectory(self.path, self.run, also=[self._folder], share=self._share, ranks=ranks)
            )

        try:
            ranks.in_turn(open_it)
            self._directory = opened[0]
            self._session = Session(
                *(self.policy, "train", self.label, self._directory, self._folder),
                untrained=lambda: (*self._untrained, *self._own.values.live),
            )
            self._hooks = Hooks(self._directory)
            calls = self._directory.calls
            self._calm = Calm(self.policy, lambda: self.policy.is_requested or not calls.passes())
            self.policy.reset()
            self._directory.share_with(self.policy.write.trusted)
        except BaseException:
            for each in opened:
                each.close()
            raise

    # --- resuming ---------------------------------------------------------------------------------

    def resume(self, resume: Resume) -> Mapping[str, Any] | None:
        """Put the requested checkpoint into the objects; returns the position that was saved, None if from scratch.

        The global random states are *not* set: the loop does so with `finish_resume`, once it has
        built its data again, which may draw from them.

        Raises:
            UsageError: `resume.override` names an option that no optimizer has; nothing was changed.
            UnsupportedStateError: an object, or something in it, cannot be saved; nothing was changed.
            StateMismatchError: it does not fit the objects; nothing was changed.
            PlanMismatchError: it is of another loop, or holds other objects.
            CheckpointNotFoundError, DamagedError: as `resume_from`.
        """
        self._own.options.check_override(resume.overridden)
        if self._own.ranks.are_several:
            check_resume(resume)
        if not self._has_begun:  # now, and not at the first save, hours later; nothing is copied
            self._own.ranks.each(self._check_objects)
        is_rollback = self._has_begun
        restoring = Restoring(
            *(self._own, resume, self.policy.exclude, self._advice), is_rollback=is_rollback
        )
        self._asked, self._has_begun = resume, True
        self._calm.end()
        if resume.origin is None:
            return None
        found = resume_from(
            self._directory,
            resume.origin,
            restoring.load,
            finite_only=self._session.watch.shuns_infinity,
            advice=self._advice,
        )
        if found is None:
            return None
        if self._own.ranks.are_several:
            found[0].of_rank(found[1].saved["run"])
            self._own.resume_noted = lambda: found[0].noted
        self._resumption, self._restored = found
        noted = self._directory.next_batches
        self._next_batch = None if is_rollback else noted.after(self._resumption.report.record)
        about = self._restored.saved["run"]
        self._resumption.add([*self._restored.changed, *about.get("lacking", ())])
        self._resumption.lack(self._restored.unsaved, self._own.is_ignored)
        self._resumption.keep(self._own.options.kept)
        if resume.prove:
            prove(self._directory, self._resumption)
        self._session.resume(about["counters"], self._directory.own(), self._resumption.report.record)
        self._own.set_state(self._restored.saved, self._directory.run)
        return about["position"]

    def _check_objects(self) -> str:
        objects = state.named(self.objects, reserved=RESERVED)
        state.look(objects, exclude=self.policy.exclude, with_boxes=self._own.ranks.are_several)
        self._own.begin()
        return ""

    def finish_resume(
        self,
        find: Callable[[], Sequence[str]] = lambda: (),
        *,
        not_loaded: Collection[str] = (),
        is_in_script: bool = False,
        is_measured: bool = False,
    ) -> None:
        """Set the global random states as they were in the checkpoint: the last act of a resume.

        What comes next is compared with what should, and the live objects with what was saved, except for those that
        are loaded only later (`not_loaded`); `find` says what else the loop finds different. `is_in_script`: this is called where
        the saves are, in the script's own loop, so that torch's grad mode is put back, too. From now on `last_resume.verdict` is
        known, and it is in the log; with `is_measured` only when the next batch has come (`batch_came`).
        """
        assert self._resumption is not None
        rng.restore_state(dict(self._restored.saved["random"]))
        self._own.values.settle()
        loaded = {name: each for name, each in self._own.named.items() if name not in not_loaded}
        self._resumption.expect(self._restored.state, lambda: loaded)
        came_back = [] if self._own.variables is None else self._own.variables.came_back
        if is_in_script and fingerprint.set_grad_mode(self._resumption.switches):
            came_back = [*came_back, fingerprint.GRAD_MODE]
        self._resumption.announce(
            self._ahead, find(), self._directory.rollbacks, came_back, is_measured=is_measured
        )

    @property
    def knows_next_batch(self) -> bool:
        """Whether it is known which batch came after the checkpoint that it resumes from, while that is still to be compared."""
        return self._next_batch is not None

    def batch_came(self, batch: Any, is_foreign: Callable[[], bool]) -> None:
        """This is the next batch, and it has not been handed out.

        `is_foreign`: whether the position of its data may not hold all that decides it.
        """
        noted = self._directory.next_batches
        if not noted.awaited and self._next_batch is None:  # at almost every batch
            return
        is_open = self._resumption is not None and self._resumption.is_open
        if not is_open and not is_foreign():
            noted.awaited.clear()
            return
        digest = digest_of_batch(batch)
        noted.came(digest)
        if is_open:
            is_another = digest != self._next_batch
            self.conclude_resume(lambda: [ANOTHER_BATCH] if is_another else [])

    def conclude_resume(self, find: Callable[[], Sequence[str]]) -> None:
        """If the next batch was still to be compared: that is done, or it never came, and this is what is found."""
        if self._resumption is not None and self._resumption.is_open:
            self._resumption.conclude(find())
            self._next_batch = None

    def add_differences(self, found: Sequence[str]) -> None:
        """What is found different only after the resume; it is logged."""
        assert self._resumption is not None
        self._resumption.add(found)

    def keep(self, found: Sequence[str]) -> None:
        """The script says otherwise of these hyperparameters, and the checkpoint's values are used: a sentence each."""
        assert self._resumption is not None
        self._resumption.keep(found)

    def lack(self, found: Sequence[str], advice: str = ADVICE) -> None:
        """This trains and is not among the objects, so it is in no checkpoint: say so, once."""
        warn_lacking(found, advice)
        if self._resumption is not None:
            self._resumption.add(found)

    @property
    def last_resume(self) -> ResumeReport | None:
        """From where it resumed, and how exactly; None if it began from scratch."""
        return None if self._resumption is None else self._resumption.report

    def roll_back(self, why: DivergenceError) -> Mapping[str, Any]:
        """Put the checkpoint that `why` names into the objects, as `resume` does; returns the position that was saved.

        Afterwards the random states are others than they were (see `runtime._divergence`).
        """
        aim = self._directory.rollbacks.begin(why, self._directory.disk)
        saved = self.resume(replace(self._asked, source=aim, prove=False))
        assert saved is not None
        return saved

    def look(self) -> None:
        """Once everything is committed: raise DivergenceError if what was saved last is not finite."""
        self._hooks.look_at_end([self._session], self.moment)

    def _ahead(self) -> Ahead:
        known = self._known_ahead()
        return Ahead(known.batch, {**generators_in(self._own.named), **known.generators})

    # --- hooks and saves --------------------------------------------------------------------------

    def announce(
        self,
        hook: str,
        *,
        epoch: int | None = None,
        batch: int | None = None,
        step: int,
        metrics: Mapping[str, float] | None = None,
        losses: Collection[str] = (),
    ) -> None:
        """The loop is at this hook, everything that belongs to it done: count it, and save if the policy says so.

        `losses`: names of metrics that are to be finite, besides `monitor` and those with "loss" in their name.

        Raises:
            SaveError: an earlier save in the background has failed, or this one did.
            Preempted: a signal has told the run to leave, and its state is saved.
            DivergenceError: what is trained is not finite any more, and the policy minds; nothing was saved now.
        """
        self._at = hook, epoch, batch, step
        self._calm.end()
        self._has_trained |= hook in ("batch_end", "epoch_end")
        self._hooks.prepare(hook)
        is_saved = self._hooks.announce(
            *(self.moment, [self._session], self._own.take),
            ahead=self._ahead,
            metrics=metrics or {},
            losses=losses,
        )
        if hook == "batch_end" and not is_saved and self._session.is_calm:
            self._calm.begin()

    def passes(self, *, epoch: int | None, batch: int, step: int) -> bool:
        """Whether nothing can be due at the end of this batch, which is counted then and need not be announced."""
        if not self._calm.passes():
            return False
        self._at = "batch_end", epoch, batch, step
        self._directory.pace.at(step)
        return True

    def begins_where_it_ended(self, *, epoch: int | None, batch: int, step: int) -> bool:
        """Whether this batch begins right where the one before has ended, so that there is nothing to announce."""
        if self._at[0] != "batch_end" or self._session.counts("batch_start"):
            return False
        self._at = "batch_start", epoch, batch, step
        return True

    def stop(self, why: str) -> None:
        """The loop ends before its time: save that at the next end, or a resume would train what `why` has ended."""
        self._calm.end()
        self._session.demand(why)

    def at_rest(self) -> AbstractContextManager[None]:
        """Inside, nothing in a checkpoint changes except random states, as while data are read; see `Hooks.at_rest`."""
        if not self.policy.save_on_exception:
            return nullcontext()
        return self._hooks.at_rest(
            [self._session], self.moment, self._own.take, lambda: {"run": self._own.about_run()}
        )

    def save(
        self,
        name: str,
        *,
        overwrite: bool = True,
        metrics: Mapping[str, float] | None = None,
        lacking: Sequence[str] = (),
    ) -> Path:
        """Save now under this name, whatever the policy says; returns the bundle's path once it is committed.

        `lacking`: why a resume from there is not exact, a sentence each; it is logged, once.

        Raises:
            UsageError: the name cannot be one.
            CheckpointExistsError: it is taken and `overwrite` is False.
            SaveError: the disk refused.
        """
        check_name(name)
        self._calm.end()
        for each in lacking:
            if each not in self._told:
                self._told.add(each)
                logger.warning(
                    "%s; save at the end of a turn, or let the policy save: checkpointing.request()", each
                )
        return save_manually(
            self._directory,
            str(self._folder),
            name,
            lambda: self._own.take(lacking),
            kind="train",
            moment=self.moment,
            metrics=metrics,
            durability=self.policy.write.durability,
            exclude=self.policy.exclude,
            overwrite=overwrite,
            ahead=self._ahead,
            may_be_infinite=self._session.may_be_infinite,
        )

    @property
    def values(self) -> Values:
        """What the script sets by name."""
        return self._own.values

    def replace(self, name: str, value: Any) -> None:
        """Put `value` in the place of the object of this name; what a new optimizer says of its options holds from now on."""
        self._own.replace(name, value)

    # --- the end ----------------------------------------------------------------------------------

    @property
    def rollbacks(self) -> int:
        """How often the run has been rolled back, earlier processes included."""
        return self._directory.rollbacks.count

    @property
    def accounting(self) -> Accounting:
        """What saving has cost so far."""
        return self._directory.accounting

    def state_digest(self) -> str:
        """As `Run.state_digest`."""
        return self._own.digest()

    def _say_end(self) -> None:
        began_at = 0 if self.last_resume is None else self.last_resume.record.moment.step
        if self.last_resume is not None and not self._has_trained and not self.accounting.saves:
            say(logging.WARNING, nothing_trained(step=began_at, place=str(self._folder)))
            return
        step = max(self.moment.step, began_at)
        say(logging.INFO, ended(self.accounting, step=step, began_at=began_at, place=str(self._folder)))

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the directory meanwhile; at the end a failed save surfaces, unless another error is on its way.

        Raises:
            RunActiveError: another live run uses the directory.
            SaveError: the directory cannot be written.
        """
        if self._may_be_several:
            self._own.ranks = ranks_of(self.objects, self.policy.exclude)
        if self._own.ranks.are_several:
            check(self.policy, share_directory=self._share)
        self._open()
        try:
            with self._directory.calls.heeding([self.policy]):
                yield
                self._directory.writer.wait()
                self.look()
            self._say_end()
        except BaseException as err:
            self._hooks.rescue(err, [self._session])
            raise
        finally:
            self._directory.close()
