"""One process's hold on one experiment directory: who runs there, what comes next, what can be shared.

All that is known of earlier saves is read back from the records of the bundles; there is no second book.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from .. import bundle, fingerprint
from ..checkpoint import FORKED_FROM, draft, find, has_been_held, scan, watched
from ..errors import (
    CheckpointNotFoundError,
    CheckpointUnreadableError,
    DamagedError,
    HoldfastError,
    SaveError,
    SnapshotTornError,
)
from ..harness import asked, disk_of_life, stop_at_end
from ..policy import When
from ..records import CheckpointRecord, Moment, Snapshot, leaves
from ..storage import LocalDisk, Storage, is_below, real_path
from ._claim import claim, clear_leftovers, file_of, note_run, noted_runs, place_of, try_out
from ._costs import Accounting, Pace, Stopwatch
from ._requests import Calls
from ._resuming.expected import Ahead, fingerprint_of
from ._resuming.next_batches import NextBatches
from ._resuming.rollbacks import Rollbacks
from ._saving.snapshots import Taking
from ._together.agreement import Agreement
from ._together.ranks import ALONE, Ranks
from ._writer import BackgroundWriter

if TYPE_CHECKING:
    from ._resuming.report import Resumption

logger = logging.getLogger("holdfast")


class ExperimentDirectory:
    """The directory of an experiment, held for one run. Use it as a context manager, or `close()` it.

    `also`: directories, below or elsewhere, to which the experiment saves too. `clock`: seconds, by which
    packs grow old that have to be read again before they are linked. `ranks`: who have the run together; rank 0 holds
    the directory for all.

    Raises (on construction):
        RunActiveError: a live process runs an experiment here, and `share` is False.
        SaveError: one of the directories cannot be made or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        run: str,
        *,
        also: Iterable[str | os.PathLike[str]] = (),
        share: bool = False,
        disk: Storage | None = None,
        clock: Callable[[], float] = time.monotonic,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.path = os.fspath(path).rstrip("/") or "/"
        self.run = run
        self.disk = disk or disk_of_life(lambda: LocalDisk(_working_directory()))
        self._clock = clock
        folders = list(dict.fromkeys(os.fspath(path) for path in also))
        for folder in folders:
            try_out(self.disk, folder)
        self._also = [folder for folder in folders if not is_below(folder, self.path)]
        self._own_folders = {os.path.normpath(folder) for folder in folders}
        self.pace = Pace(clock)
        self.accounting = Accounting(pace=self.pace)
        self.resumed_from: CheckpointRecord | None = None
        self.resumption: Resumption | None = None  # how exactly it resumed is recorded with each save
        self.rollbacks = Rollbacks()
        self.next_batches = NextBatches(self.disk, self.path, ranks.rank)
        self._switches: Mapping[str, str] = {}
        self.taking = Taking()
        self.writer = BackgroundWriter()
        self.agreement = None if ranks.beside is None else Agreement(ranks, ranks.beside)
        called_in = [self.path, *folders] if ranks.leads else []
        self.calls = Calls(self.disk, called_in, self.writer, clock, self.agreement)
        self._sharing = bundle.Sharing()
        self._parent: str | None = None
        self._closed = self._is_noted = False
        self._lock = claim(self.disk, self.path, share=share) if ranks.leads else None
        try:
            self._place = place_of(self.disk, self.path)
            if self._lock is not None:
                clear_leftovers(self.disk, self.path)
            self._seq = max((listed.record.seq for listed in self.scan() if listed.record), default=0)
        except BaseException:
            self.close()
            raise

    def draft(
        self,
        name: str,
        *,
        kind: Literal["train", "experiment"],
        moment: Moment,
        metrics: Mapping[str, float],
        reason: str,
        blocked_s: float,
        durability: Literal["full", "process"] = "full",
        ahead: Ahead | None = None,
    ) -> CheckpointRecord:
        """The record of a checkpoint about to be saved; to be made where training runs, whose settings it notes."""
        drafted = replace(
            draft(name, kind, moment, reason=reason),
            metrics=dict(metrics),  # the loop keeps logging into its own while this is being written
            durability=durability,
            blocked_s=blocked_s,
            details=self._details(ahead),
        )
        self.next_batches.saved(drafted)
        return drafted

    def heed(self, moment: Moment) -> None:
        """The run is at this hook: inside of its loop, the switches are those under which it trains."""
        if moment.hook.startswith(("batch_", "epoch_")):
            self._switches = fingerprint.switches()

    def _details(self, ahead: Ahead | None) -> dict[str, Any]:
        details: dict[str, Any] = {} if ahead is None else {"next": fingerprint_of(ahead)}
        if self._switches:
            details["switches"] = self._switches
        if self.resumption is not None:
            details["resume"] = self.resumption.noted
        if self.rollbacks.count:
            details["rollbacks"] = {"count": self.rollbacks.count, "why": self.rollbacks.why}
        return details

    def save(
        self,
        folder: str,
        draft: CheckpointRecord,
        snapshot: Snapshot,
        *,
        overwrite: bool = True,
        watch: Stopwatch | None = None,
        when: When | None = None,
        may_be_infinite: Sequence[str] = (),
    ) -> CheckpointRecord:
        """Commit a snapshot as `folder/draft.name.ckpt.mml`, the next of this run's line.

        `watch` has measured this save so far; without one it begins now. `when`: of the policy that saves.
        `may_be_infinite`: patterns of paths of arrays in which NaN and infinity are expected.

        Raises:
            CheckpointExistsError, SaveError, CommitUncertainError: see `bundle.commit`; SaveError, too, if there
                is not enough memory, or a live snapshot was changed meanwhile.
        """
        self._prepare()
        draft = self._next(draft)
        began_s = time.perf_counter()
        timed = watch or self.pace.begin()
        with failing_as_a_save(bundle.bundle_path(folder, draft.name)):
            record = bundle.save(
                *(self.disk, folder, draft, snapshot, self._sharing),
                overwrite=overwrite,
                now_s=self._clock(),
                finish=lambda written: self.pace.finish(written, timed, when),
                is_watched=watched(snapshot.tree, may_be_infinite),
            )
        return self._saved(folder, record, began_s)

    def save_together(
        self,
        folder: str,
        draft: CheckpointRecord,
        capture: Callable[[], Snapshot],
        *,
        overwrite: bool = True,
        watch: Stopwatch | None = None,
        when: When | None = None,
        may_be_infinite: Sequence[str] = (),
    ) -> CheckpointRecord:
        """As `save`, of what all ranks of the run have together; `capture` gives what this one has.

        Raises: as `save`, the same on all ranks, naming the rank that failed; and what `capture` raises.
        """

        def captured() -> Snapshot:  # what is raised here, the others hear
            self._prepare()
            return capture()

        began_s = time.perf_counter()
        timed = watch or self.pace.begin()
        try:
            with failing_as_a_save(bundle.bundle_path(folder, draft.name)):
                record = bundle.save_together(
                    *(self.ranks.crew, self.disk, folder, self._next(draft), captured),
                    watching=lambda tree: watched(tree, may_be_infinite),
                    overwrite=overwrite,
                    finish=lambda written: self.pace.finish(written, timed, when),
                )
            return self._saved(folder, record, began_s)
        finally:
            if self.agreement is not None:
                self.agreement.saved()

    def _prepare(self) -> None:
        self._check_place()
        if not self._is_noted and self.ranks.leads:
            note_run(self.disk, self.path, self.run)
            self._is_noted = True

    def _next(self, draft: CheckpointRecord) -> CheckpointRecord:
        """The draft with its place in the run's line."""
        return replace(draft, seq=self._seq + 1, parent=self._parent, commit=fingerprint.git_commit())

    def _saved(self, folder: str, record: CheckpointRecord, began_s: float) -> CheckpointRecord:
        """It is committed."""
        self._seq = record.seq
        self._parent = record.id
        self.accounting.add(record, time.perf_counter() - began_s)
        self.pace.committed(record)
        logger.info(
            "saved %s (%s): training blocked for %.3f s, %.3f s in the background, "
            "%d bytes captured, %d written, %d shared, durability %s",
            *(record.name, record.reason, record.blocked_s, record.details["background_s"]),
            *(record.bytes_captured, record.bytes_written, record.bytes_shared, record.durability),
        )
        stop_at_end(bundle.bundle_path(folder, record.name), record.moment)
        return record

    def _check_place(self) -> None:
        """SaveError if it was moved away: what is saved would lie in another one of its name, without all that came before.

        One that was removed is made again.
        """
        if self._lock is None or not self._lock.is_there:
            return
        if place_of(self.disk, self.path) != self._place:
            raise SaveError(
                self.path,
                "the run's directory was moved away while the run uses it: move it back, or end the run and resume it "
                "where its directory is now",
            )

    def resume_from(self, opened: bundle.Bundle) -> None:
        """The run resumes from this checkpoint, whose bytes have all been verified: its packs can be shared."""
        self.resumed_from = opened.record
        self._is_noted = self._is_noted and self.run == opened.record.run
        self.run = opened.record.run
        self.rollbacks.read(opened.record)
        self._parent = opened.record.id
        self.pace.resume(opened.record)
        self._seq = max(self._seq, opened.record.seq)
        self.trust(opened)

    def share_with(self, places: Iterable[str | os.PathLike[str]]) -> None:
        """Verify the bundles at these places (or below them) once; their packs may be linked from then on.

        Raises:
            CheckpointNotFoundError: there is no bundle at one of the places.
        """
        for place in places:
            found = find(place, disk=self.disk)
            listed = [found] if found else scan(place, disk=self.disk)
            if not listed:
                raise CheckpointNotFoundError(str(place), "there is nothing to share with")
            for each in listed:
                try:
                    with bundle.Bundle(self.disk, each.path) as opened:
                        opened.check([*leaves(opened.tree)])
                        self.trust(opened)
                except DamagedError as err:
                    logger.warning("nothing is shared with %s: %s", each.path, err)

    def trust(self, opened: bundle.Bundle) -> None:
        """Packs of this bundle, whose live pieces the caller has verified, may be linked into new checkpoints."""
        self._sharing.learn(opened.path, opened.record, opened.stored, now_s=self._clock())

    def scan(self) -> list[bundle.Listed]:
        """Every checkpoint of the experiment, oldest first, whatever run saved it; damaged ones before.

        What lies in a directory that another experiment has below this one (a fork, a trial of a sweep) is not
        of this one, and nothing resumes from it unasked.
        """
        entered: set[str] = set()

        def enters(folder: str) -> bool:
            entered.add(real_path(folder))
            return self._is_ours(folder)

        found = [
            listed
            for place in (self.path, *self._also)
            for listed in bundle.scan(self.disk, place, enters=enters)
        ]
        for folder in sorted(self._own_folders):  # one that is a link, or below one, was not entered
            place = real_path(folder)
            if place not in entered | {real_path(each) for each in (self.path, *self._also)}:
                entered.add(place)
                found += bundle.scan(self.disk, folder, enters=enters)
        return sorted(found, key=bundle.by_age)

    def _is_ours(self, folder: str) -> bool:
        return os.path.normpath(folder) in self._own_folders or not has_been_held(self.disk, folder)

    def belongs(self) -> Callable[[CheckpointRecord], bool]:
        """Whether a run of this directory saved a checkpoint, for each record: others were copied here from elsewhere.

        All does in the directory of a replay, which is given the one checkpoint that it is to begin with.
        """
        noted = None if asked() is not None else noted_runs(self.disk, self.path)
        return lambda record: noted is None or file_of(record.run) in noted or FORKED_FROM in record.details

    def own(self) -> list[bundle.Listed]:
        """This run's checkpoints, oldest first."""
        return [listed for listed in self.scan() if listed.record and listed.record.run == self.run]

    def rewrite(self, opened: bundle.Bundle, draft: CheckpointRecord, snapshot: Snapshot) -> None:
        """Commit another state of an opened bundle in its place; what both have in common is linked.

        Raises: as `save`.
        """
        sharing = bundle.Sharing()
        sharing.learn(opened.path, opened.record, opened.stored)
        with failing_as_a_save(opened.path):
            bundle.save(self.disk, os.path.dirname(opened.path), draft, snapshot, sharing)
        self._sharing.forget(opened.path)

    def remove(self, path: str) -> None:
        """Delete a bundle that retention gave up: only this run's, never the one that the run resumed from."""
        try:
            listed = bundle.look(self.disk, path)
        except CheckpointUnreadableError as err:
            listed = bundle.Listed(path, None, err)
        why = None
        if listed is None:
            why = "it is gone already"
        elif listed.record is None:
            why = "it is damaged" if isinstance(listed.problem, DamagedError) else str(listed.problem)
        elif listed.record.run != self.run:
            why = "another run saved it"
        elif self.resumed_from is not None and listed.record.id == self.resumed_from.id:
            why = "the run resumed from it"
        elif FORKED_FROM in listed.record.details:
            why = "the run began with it"
        if why is None:
            assert listed is not None
            assert listed.record is not None
            try:
                bundle.delete(self.disk, path, expected_id=listed.record.id)
            except HoldfastError as err:
                why = str(err)
            else:
                self._sharing.forget(path)
                return
        logger.info("forgot %s and left it where it is: %s", path, why)

    def tell_loss(self) -> None:
        """Say what an exception that came in the middle of a step has cost."""
        self.writer.settle()  # what is being saved is not lost
        if self.pace.unsaved_steps:
            logger.warning(
                "the exception came in the middle of a step, so what it left is not saved: %d steps (%.3g s) since "
                "the last checkpoint are lost",
                *(self.pace.unsaved_steps, self.pace.unsaved_s),
            )

    @property
    def is_open(self) -> bool:
        """Whether this run still holds the directory."""
        return not self._closed

    def close(self) -> None:
        """Let go of the directory, once what is being saved is committed."""
        self.writer.settle()
        self._closed = True
        self.pace.stop()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> ExperimentDirectory:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


@contextmanager
def failing_as_a_save(path: str) -> Iterator[None]:
    """Let what a save fails of, besides the disk, be a failed save: the policy knows what to do then."""
    try:
        yield
    except SnapshotTornError as err:
        raise SaveError(path, str(err)) from err
    except CheckpointUnreadableError as err:
        raise SaveError(path, str(err)) from err
    except MemoryError as err:
        raise SaveError(path, "there was not enough memory to write it") from err
    except RuntimeError as err:
        if "can't start new thread" not in str(err):
            raise
        raise SaveError(path, "there was not enough memory to start a thread that writes it") from err


def _working_directory() -> str:
    """Where a run's relative paths begin, once and for all: its script may go elsewhere while it trains."""
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed; absolute paths are as good as ever
        return ""
