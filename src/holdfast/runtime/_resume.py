"""Which checkpoint to go on from: the one asked for, or the newest whole one, and what was set aside on the way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from .. import bundle, fingerprint
from ..checkpoint import describe_sickness
from ..errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    CheckpointThinnedError,
    DamagedError,
    PieceDamagedError,
    RestoreIncompleteError,
    UsageError,
)
from ..policy import is_sick
from ..records import CheckpointRecord
from ..storage import LocalDisk
from ._directory import ExperimentDirectory
from ._expected import Ahead, fingerprint_of
from ._expected import differences as ahead_differences

logger = logging.getLogger("holdfast")

Wanted: TypeAlias = Literal[True] | str | os.PathLike[str]
"""True: the newest whole checkpoint. Else a path, or a name such as `pretrain/pretrain_epoch2`."""

Loaded = TypeVar("Loaded")


def asked_for(resume: Any) -> Wanted | None:
    """What a script says of `resume`; None: to begin anew.

    Raises:
        UsageError: it says nothing that could be meant, such as None.
    """
    if resume is False:
        return None
    if resume is True or isinstance(resume, str | os.PathLike):
        return resume
    raise UsageError(f"resume must be True, False, or the name or path of a checkpoint, not {resume!r}.")


@dataclass(slots=True)
class ResumeReport:
    """From where a run went on, and how exactly.

    Attributes:
        path, record: the checkpoint.
        set_aside: newer checkpoints that could not be used, or whose age nobody knows, and why.
        differences: what keeps the rest of the run from being exact, one sentence each.
    """

    path: str
    record: CheckpointRecord
    set_aside: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    _told: list[object] = field(default_factory=list, repr=False)
    _noted: int = field(default=0, repr=False)
    _has_arrived: bool = field(default=False, repr=False)

    def note(self, found: Sequence[str]) -> None:
        """What comes out differently is worth saying before versions and settings, which only may be why."""
        new = [each for each in dict.fromkeys(found) if each not in self.differences]
        self.differences[self._noted : self._noted] = new
        self._noted += len(new)
        if self._has_arrived and new:
            logger.warning("what went on from %s is %s", self.path, self.verdict)

    def tell(self, on_saved: object) -> None:
        """Let what was told of each checkpoint go back to this one, if it can; once, however many rules name it.

        What it raises is logged: it is told of a run, and must not end it.
        """
        rewind = getattr(on_saved, "rewind", None)
        if rewind is None or any(each is on_saved for each in self._told):
            return
        self._told.append(on_saved)
        try:
            rewind(self.record)
        except Exception:
            logger.exception("%s could not be taken back to %s", type(on_saved).__name__, self.record.name)

    def arrive(self, ahead: Ahead) -> None:
        """All is in place: compare what comes next with what should, and say how exactly the run goes on."""
        self.note(ahead_differences(self.record.details.get("next"), fingerprint_of(ahead)))
        self._has_arrived = True
        level = logging.WARNING if self.differences else logging.INFO
        logger.log(level, "going on from %s: %s", self.path, self.verdict)

    @property
    def verdict(self) -> str:
        """`"exact"`, or the first thing that differs."""
        return f"not exact: {self.differences[0]}" if self.differences else "exact"


def go_on(
    directory: ExperimentDirectory,
    wanted: Wanted,
    load: Callable[[bundle.Bundle, Literal["first", "streaming"]], tuple[Loaded, Sequence[str]]],
    *,
    healthy: bool = False,
) -> tuple[ResumeReport, Loaded] | None:
    """Let `load` put the wanted checkpoint into live objects; if damage stops it, the next older one.

    `load` gets the opened bundle and how to verify it: "streaming" where an older one would overwrite what
    damage leaves half-filled, "first" for one that was asked for by name; it answers with what it loaded and
    the paths of what had been left out and was kept as it is. The directory's run then goes on from it. None if `wanted` is True and there is no checkpoint at all.
    `healthy`: leave those that are not finite aside, if there is one that is.

    Raises:
        CheckpointNotFoundError: the one asked for is not there.
        DamagedError: it is damaged, and nothing was changed; or all are, with `wanted=True`.
        CheckpointThinnedError: the one asked for has no optimizer any more; nothing was changed.
    """
    set_aside: list[str] = []
    for listed in _candidates(directory, wanted, healthy, set_aside):
        try:
            if listed.problem:
                raise listed.problem
            if listed.record and listed.record.details.get("thinned"):
                raise CheckpointThinnedError(listed.path)
            expected = listed.record.id if listed.record else None
            with bundle.Bundle(directory.disk, listed.path, expected_id=expected) as opened:
                loaded, kept = load(opened, "streaming" if wanted is True else "first")
                directory.go_on_from(opened)
        except (
            DamagedError,
            RestoreIncompleteError,
            CheckpointNotFoundError,
            CheckpointThinnedError,
        ) as err:
            if wanted is not True:
                raise
            # The path stands before it, and what to do is said once, at the end.
            is_damage = isinstance(err, CheckpointDamagedError | PieceDamagedError)
            why = f"damaged: {err.what}" if is_damage else err
            logger.warning("set aside %s: %s", listed.path, why)
            set_aside.append(f"{listed.path}: {why}")
            continue
        record = opened.record
        report = ResumeReport(listed.path, record, set_aside)
        report.differences += [f"{path} is not in the checkpoint, and was left as it was" for path in kept]
        report.differences += fingerprint.differences(record.versions, fingerprint.versions())
        report.differences += fingerprint.differences(record.environment, fingerprint.environment())
        directory.resumed = report
        return report, loaded
    if set_aside:
        raise CheckpointDamagedError(
            directory.path, "none of its checkpoints can be used; " + "; ".join(set_aside[:3])
        )
    return None


def _candidates(
    directory: ExperimentDirectory, wanted: Wanted, healthy: bool, set_aside: list[str]
) -> Iterator[bundle.Listed]:
    if wanted is True:
        newest_first = directory.scan()[::-1]
        # Without a record nobody knows how old one is, so a damaged one is always worth a word.
        yield from (listed for listed in newest_first if isinstance(listed.problem, DamagedError))
        usable = [listed for listed in newest_first if not isinstance(listed.problem, DamagedError)]
        sick = [listed for listed in usable if healthy and listed.record and is_sick(listed.record)]
        for listed in usable:
            if listed not in sick:
                yield listed
            elif listed.record:
                set_aside.append(f"{listed.path}: {describe_sickness(listed.record)}")
        yield from sick
    else:
        yield find(directory.scan(), directory.path, os.fspath(wanted))


def find(listed: Sequence[bundle.Listed], directory: str, name: str) -> bundle.Listed:
    """The checkpoint at a path, or of a name such as `pretrain/pretrain_epoch2` or `pretrain_epoch2`.

    A path may lack its suffix: so are checkpoints named in `available_checkpoints`, in the log and by `holdfast ls`.

    Raises:
        CheckpointNotFoundError: there is none.
    """
    given, name = name, name.rstrip("/")
    if name.endswith(bundle.SUFFIX):
        there = bundle.look(LocalDisk(), name)
        if there is not None:
            return there
        name = name.removesuffix(bundle.SUFFIX)
    wanted = f"{directory}/{name}{bundle.SUFFIX}"
    for each in listed:
        if each.path == wanted:
            return each
    same_name = [each for each in listed if os.path.basename(each.path) == f"{name}{bundle.SUFFIX}"]
    if same_name:
        return same_name[-1]
    for place in (wanted, f"{name}{bundle.SUFFIX}"):  # another experiment's below this one; anybody's
        there = bundle.look(LocalDisk(), place)
        if there is not None:
            return there
    raise CheckpointNotFoundError(given, f"neither a path nor the name of a checkpoint in {directory}")
