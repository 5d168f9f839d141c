"""`Session`: joins a `Checkpointing` policy to a run. It saves when the policy says so, and keeps what it says."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import bundle, rng
from .. import state as states
from ..errors import CheckpointExistsError, DamagedError, SaveError, SnapshotTornError, UsageError
from ..harness import living
from ..policy import COME_AGAIN, Checkpointing, Key
from ..records import MANUAL, CheckpointRecord, Moment, Snapshot
from ..state import LazySnapshot, LiveSnapshot, MemorySnapshot
from ._costs import Pace, Stopwatch
from ._directory import ExperimentDirectory
from ._divergence import Watch
from ._resuming.expected import Ahead
from ._saving.due import Due
from ._saving.names import Kind, Names
from ._saving.retention import Retention
from ._saving.snapshots import InMemory

logger = logging.getLogger("holdfast")

_ENDS = ("phase_end", "group_end", "experiment_end")  # come once more if more epochs are run
_LONGEST_REASON = 200
_RETRY_AFTER_S = (0.2, 2.0)

Taken = MemorySnapshot | LazySnapshot | LiveSnapshot


class Session:
    """One policy at work: in a train phase (kind "train") or around an experiment (kind "experiment").

    Args:
        policy: the policy and its ledger, which this session fills.
        kind: which of the two tables of names and keys holds.
        label: the phase's or experiment's label, for names.
        directory: the experiment's directory; None if the policy keeps its checkpoints in memory.
        folder: where bundles go; in or outside of `directory`.
        untrained: called for patterns of paths of what is saved and not trained: NaN and infinity are no divergence there.

    Attributes:
        due, demand: see `Due`.
    """

    def __init__(
        self,
        policy: Checkpointing,
        kind: Kind,
        label: str,
        directory: ExperimentDirectory | None,
        folder: Path | None,
        *,
        untrained: Callable[[], Sequence[str]] = tuple[str],
    ) -> None:
        if policy.mode == "disk" and (directory is None or folder is None):
            raise UsageError(
                f"{label!r} saves to disk and has no directory: pass directory= to its Checkpointing."
            )
        self.policy, self.label = policy, label
        self._directory, self._folder = directory, folder
        self._names = Names(policy, kind, label, folder)
        self._untrained = untrained
        self.watch = Watch(policy.on_divergence)
        self.memory = InMemory(policy, label)
        self._past: set[str] = set()  # names that this run saved before the moment it resumes from
        self._replaceable: set[str] = set()  # names that it saved after that, or that are damaged
        self._pace = directory.pace if directory is not None and policy.mode == "disk" else Pace()
        self._retention = None if directory is None else Retention(directory, policy)
        self._due = Due(policy, self._names, directory, self._pace)
        self.due, self.demand, self.counts = self._due.reason, self._due.demand, self._due.counts

    @property
    def is_calm(self) -> bool:
        """Whether nothing is under way, owed or watched for that the end of the next batch may need a look for."""
        directory = self._directory
        is_idle = directory is None or not directory.writer.is_busy
        return (
            is_idle
            and self._due.is_calm
            and not self.watch.is_on
            and self.policy.save_on_exception is not True
        )

    @property
    def may_be_infinite(self) -> tuple[str, ...]:
        """Patterns of paths where NaN and infinity are no divergence."""
        policy = self.policy.on_divergence
        return (*(policy.may_be_infinite if policy else ()), *self._untrained())

    def save(
        self,
        moment: Moment,
        state: Callable[[], Any] | MemorySnapshot,
        *,
        reason: str,
        metrics: Mapping[str, float],
        ahead: Callable[[], Ahead] = Ahead,
    ) -> bool:
        """Take what `state` gives (live objects by name), or what it is, and keep it as a checkpoint.

        On disk it is committed in the background if the policy says so. Once it is committed, what the policy gives
        up for it is deleted. `ahead` says what comes next, for the record. Nothing is done, and False returned, if
        another save is still being written, this hook will come again, and the policy says to skip then.

        Raises:
            SaveError: the disk refused, and nothing was to be done in the background.
            UnsupportedStateError: something cannot be saved.
        """
        key, name, exclude = self._names.key(moment), self._names.name(moment), self.policy.exclude
        if self._directory is None or self.policy.mode == "memory":
            watch = self._pace.begin()
            taken = state if isinstance(state, MemorySnapshot) else states.capture(state(), exclude=exclude)
            self.memory.keep(key, taken)
            self._pace.kept(moment.step, watch)
            return True
        directory = self._directory
        if directory.ranks.are_several:
            self._save_together(directory, moment, state, reason=reason, metrics=metrics)
            return True
        may_skip = self.policy.write.busy == "skip" and moment.hook in COME_AGAIN and not self._due.insists
        if may_skip and directory.writer.is_busy:
            logger.info("skipped %s: the save before is still being written", name)
            directory.accounting.skipped += 1
            return False
        watch = self._pace.begin()
        # Looked through before the wait: the save before is still being written meanwhile.
        taken = state if isinstance(state, MemorySnapshot) else state()
        watch.waited_s = directory.writer.settle()
        is_taken = isinstance(taken, MemorySnapshot)
        snapshot = taken if is_taken else directory.taking.take(taken, self.policy)
        blocked_s = watch.blocked_s()
        draft = self._draft(directory, moment, metrics, reason, blocked_s, ahead())
        if snapshot.is_live:
            record = self._commit(directory, key, draft, snapshot, watch)
            counted_s = 0.0 if record is None else record.blocked_s
            directory.accounting.blocked_s += watch.blocked_s() - counted_s
        else:
            needs = snapshot.finish if isinstance(snapshot, LazySnapshot) else None
            watch.returned_s = time.perf_counter()
            directory.writer.submit(lambda: self._commit(directory, key, draft, snapshot, watch), needs=needs)
            if self._due.is_end_of_replay(moment) or living() is not None:
                directory.writer.wait()  # nothing more may be to be done: the process ends with the commit
        if (life := living()) is not None:
            life.saved()
        return True

    def _save_together(
        self,
        directory: ExperimentDirectory,
        moment: Moment,
        state: Callable[[], Any] | MemorySnapshot,
        *,
        reason: str,
        metrics: Mapping[str, float],
    ) -> None:
        """All ranks save while training waits: they would talk in the background while it needs all of them."""
        assert not isinstance(state, MemorySnapshot)
        watch = directory.pace.begin()
        draft = self._draft(directory, moment, metrics, reason)

        def captured() -> LiveSnapshot:
            return states.look(state(), exclude=self.policy.exclude, with_boxes=True)

        def save(overwrite: bool) -> CheckpointRecord:
            return directory.save_together(
                *(self._names.folder, draft, captured),
                overwrite=overwrite,
                watch=watch,
                when=self.policy.when,
                may_be_infinite=self.may_be_infinite,
            )

        record = self._written(directory, draft, save, watch)
        if record is not None:
            self._enter(directory, self._names.key(moment), record)

    def _draft(
        self,
        directory: ExperimentDirectory,
        moment: Moment,
        metrics: Mapping[str, float],
        reason: str,
        blocked_s: float = 0.0,
        ahead: Ahead | None = None,
    ) -> CheckpointRecord:
        return directory.draft(
            self._names.name(moment),
            kind=self._names.kind,
            moment=moment,
            metrics=metrics,
            reason=reason,
            blocked_s=blocked_s,
            durability=self.policy.write.durability,
            ahead=ahead,
        )

    def affords_copy(self) -> bool:
        """Whether the policy lets training wait for a copy of a step, for a save that may never come."""
        return self._pace.affords_copy(self.policy.when)

    def copied(self, seconds: float) -> None:
        """Training has waited so long for such a copy."""
        self._pace.copied(seconds)
        if self._directory is not None:
            self._directory.accounting.blocked_s += seconds

    def rescue(
        self,
        moment: Moment,
        error: BaseException,
        state: Callable[[], Any] | MemorySnapshot,
        *,
        metrics: Mapping[str, float],
        streams: rng.RandomState,
    ) -> None:
        """Save the last complete step, because `error` has come after it; a failure of that is only logged.

        `streams`: the global random states as they were then.
        """
        assert self._directory is not None
        try:
            reason = f"before {type(error).__name__}: {_said_by(error)}"[:_LONGEST_REASON]
            self._due.insists = True
            self.save(moment, state, reason=reason, metrics=metrics, ahead=lambda: Ahead(streams=streams))
            self._directory.writer.wait()
        except Exception:  # the run ends by the other one, which says more
            logger.exception("the last complete step could not be saved")

    def _commit(
        self,
        directory: ExperimentDirectory,
        key: Key,
        draft: CheckpointRecord,
        taken: Taken,
        watch: Stopwatch,
    ) -> CheckpointRecord | None:
        try:
            if isinstance(taken, LazySnapshot):
                try:
                    taken.seal()
                except SnapshotTornError as err:
                    self._give_up(directory, draft, err)
                    self._pace.give_up(watch)
                    return None
                watch.also_blocked_s = taken.blocked_s
                if taken.breach is not None:
                    directory.taking.stop_being_lazy(taken.breach)
            record = self._write(directory, draft, taken, watch)
            if record is None:
                return None
        finally:
            taken.release()
        self._enter(directory, key, record)
        return record

    def _enter(self, directory: ExperimentDirectory, key: Key, record: CheckpointRecord) -> None:
        """It is committed: what the policy gives up for it is deleted."""
        assert self._retention is not None
        self._retention.add(key, self._names.path(record.name))
        if living() is None:  # what is checked is compared, and nobody else hears of it
            self._retention.judge()
            self._retention.delete()
            self._retention.thin()
            self._tell(record)

    def _tell(self, record: CheckpointRecord) -> None:
        if self.policy.on_saved is not None:
            try:
                self.policy.on_saved(record)
            except Exception:  # what counts checkpoints must not end what makes them
                logger.exception("on_saved has failed for %s, which is saved all the same", record.name)

    def _give_up(
        self, directory: ExperimentDirectory, draft: CheckpointRecord, why: SnapshotTornError
    ) -> None:
        """What the state was at that moment is gone, and what it is now never was at a hook: nothing is saved."""
        logger.warning("gave up saving %s: %s", draft.name, why)
        directory.taking.stop_being_lazy(f"{why.leaf!r} was changed before it was copied")
        directory.accounting.dropped += 1
        self._due.owes = True

    def _write(
        self, directory: ExperimentDirectory, draft: CheckpointRecord, snapshot: Snapshot, watch: Stopwatch
    ) -> CheckpointRecord | None:
        """What was committed; if nothing was, the policy is content with a warning."""

        def save(overwrite: bool) -> CheckpointRecord:
            return directory.save(
                self._names.folder,
                draft,
                snapshot,
                overwrite=overwrite,
                watch=watch,
                when=self.policy.when,
                may_be_infinite=self.may_be_infinite,
            )

        return self._written(directory, draft, save, watch)

    def _written(
        self,
        directory: ExperimentDirectory,
        draft: CheckpointRecord,
        save: Callable[[bool], CheckpointRecord],
        watch: Stopwatch,
    ) -> CheckpointRecord | None:
        """What `save` commits, tried as often as the policy says; None if it fails and that is only warned of."""
        overwrite = self.policy.overwrite or draft.name in self._replaceable
        patience_s = list(_RETRY_AFTER_S) if self.policy.write.errors == "retry" else []
        while True:
            try:
                record = save(overwrite)
                self.watch.saw(record)
                return record
            except SaveError as err:
                if patience_s:
                    logger.warning("%s Trying again.", err)
                    time.sleep(patience_s.pop(0))
                elif self.policy.write.errors == "warn":
                    logger.warning("%s Training continues without it.", err)
                    directory.accounting.failures += 1
                    self._pace.failed(watch)
                    return None
                else:
                    raise

    def refuse_taken(self, moments: Iterable[Moment]) -> None:
        """Before training: fail if the policy must not overwrite and one of these saves would have to.

        Raises:
            CheckpointExistsError: a checkpoint of a name that will be needed exists, or two will need one name.
        """
        if self.policy.overwrite or self.policy.mode == "memory" or self._directory is None:
            return
        taken = set()
        for listed in bundle.scan(self._directory.disk, self._names.folder, depth=0):
            if isinstance(listed.problem, DamagedError):
                # Is renamed when its name is needed, so nothing is lost.
                self._replaceable.add(os.path.basename(listed.path).removesuffix(bundle.SUFFIX))
            else:
                taken.add(listed.path)
        seen: set[str] = set()
        for moment in moments:
            name = self._names.name(moment)
            if name in self._past and moment.hook not in _ENDS:
                continue
            if name in seen or (self._names.path(name) in taken and name not in self._replaceable):
                raise CheckpointExistsError(self._names.path(name))
            seen.add(name)

    def resume(
        self, counters: Mapping[str, int], own: Iterable[bundle.Listed], after: CheckpointRecord
    ) -> None:
        """Know what an uninterrupted run would know after `after`: from this run's records, `own`, by age."""
        self.watch.forget()
        self.policy.reset()
        self.policy.set_counters(counters)
        if self._directory is None or self._retention is None:
            return
        for listed in own:
            record = listed.record
            if record is None or not self._is_mine(listed, record):
                continue
            # An older one may be of later training: the run went back behind it, by name, once before.
            if record.age_key <= after.age_key and record.moment.step <= after.moment.step:
                self._retention.add(self._names.key(record.moment), listed.path)
                self._past.add(record.name)
            else:
                self._replaceable.add(record.name)
        self._retention.judge()  # a kill may have come between a commit and what was given up for it
        if self._directory.resumption is not None:
            self._directory.resumption.tell(self.policy.on_saved)

    def _is_mine(self, listed: bundle.Listed, record: CheckpointRecord) -> bool:
        is_by_a_policy = record.moment.hook != MANUAL
        return (
            is_by_a_policy
            and record.kind == self._names.kind
            and listed.path == self._names.path(record.name)
        )


def _said_by(error: BaseException) -> str:
    """Its message, as text that can be stored: it may name a file that is not UTF-8, or fail when it is asked."""
    try:
        return f"{error}".encode(errors="backslashreplace").decode()
    except Exception:
        return "its message cannot be read"
