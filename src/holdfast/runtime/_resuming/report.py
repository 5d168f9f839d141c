"""How exactly a run resumes: found out once all is in its place, said once, and what is found later said once more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from ...records import CheckpointRecord
from .expected import Ahead, fingerprint_of
from .expected import differences as ahead_differences
from .rollbacks import Rollbacks

logger = logging.getLogger("holdfast")


def _nothing() -> Sequence[str]:
    return ()


@dataclass(slots=True)
class _Findings:
    differences: list[str] = field(default_factory=list)
    num_compared: int = 0  # of them, the first: what comes out differently, before what only may be why
    is_announced: bool = False
    unsaved: list[str] = field(default_factory=list)


@final
@dataclass(frozen=True)
class ResumeReport:
    """From where a run resumed, and how exactly. It is read only, and current: what is found later is in it too.

    Attributes:
        path, record: the checkpoint.
        skipped: newer checkpoints that could not be used, or whose age is unknown, and why.
    """

    path: str
    record: CheckpointRecord
    skipped: tuple[str, ...]
    _findings: _Findings = field(repr=False, compare=False)

    @property
    def differences(self) -> tuple[str, ...]:
        """What keeps the rest of the run from being exact, one sentence each; the gravest first."""
        return tuple(self._findings.differences)

    @property
    def unsaved(self) -> tuple[str, ...]:
        """The script's variables that had moved and could not be saved: they start from their beginning, and may decide what comes next."""
        return tuple(self._findings.unsaved)

    @property
    def verdict(self) -> str:
        """`"exact"`; `"exact but for: "` and the names in `unsaved`; or `"not exact: "` and the first of the differences."""
        found, unsaved = self._findings.differences, self._findings.unsaved
        if found:
            return f"not exact: {found[0]}"
        return f"exact but for: {', '.join(unsaved)}" if unsaved else "exact"


@final
class Resumption:
    """A run's own side of its resume: only from here do differences get into `report`.

    Args:
        path, record, skipped: as in the report.
        context: what was kept, and versions and settings that differ, which only may make a difference.
    """

    def __init__(
        self, path: str, record: CheckpointRecord, skipped: Iterable[str], context: Iterable[str]
    ) -> None:
        self._findings = _Findings(list(dict.fromkeys(context)))
        self._told: list[object] = []
        self.report = ResumeReport(path, record, tuple(skipped), self._findings)

    def announce(
        self,
        ahead: Callable[[], Ahead],
        find: Callable[[], Sequence[str]] = _nothing,
        rollbacks: Rollbacks | None = None,
        came_back: Sequence[str] = (),
    ) -> None:
        """All is in its place, random states included: compare what comes next with what should, and log the verdict.

        `find`: what else the training loop or its framework finds different. `came_back`: the script's variables that
        were put back. A rollback that is due then seeds the
        random states anew, which no longer are what they were.
        """
        record = self.report.record
        found = [*find(), *ahead_differences(record.details.get("next"), fingerprint_of(ahead()))]
        if rollbacks is not None and rollbacks.reseed(record.run):
            found.append(rollbacks.sentence)
        self.add(found)
        self._findings.is_announced = True
        level = logging.INFO if self.report.verdict == "exact" else logging.WARNING
        logger.log(level, "resumed from %s: %s", self.report.path, self.report.verdict)
        if came_back:
            logger.info("put back the script's variables %s", ", ".join(came_back))

    def lack(self, unsaved: Iterable[str]) -> None:
        """These variables of the script are not in the checkpoint, and should be."""
        self._findings.unsaved[:] = dict.fromkeys(unsaved)

    def add(self, found: Iterable[str]) -> None:
        """Let the report say these differences too; once the verdict is in the log, with a further line there."""
        findings = self._findings
        new = [each for each in dict.fromkeys(found) if each not in findings.differences]
        findings.differences[findings.num_compared : findings.num_compared] = new
        findings.num_compared += len(new)
        if findings.is_announced and new:
            logger.warning("since the resume from %s: not exact: %s", self.report.path, "; ".join(new))

    def tell(self, on_saved: object) -> None:
        """Let what was told of each checkpoint go back to this one, if it can; once, however many policies name it.

        What it raises is logged: it is told of a run, and must not end it.
        """
        rewind = getattr(on_saved, "rewind", None)
        if rewind is None or any(each is on_saved for each in self._told):
            return
        self._told.append(on_saved)
        try:
            rewind(self.report.record)
        except Exception:
            name = self.report.record.name
            logger.exception("%s could not be taken back to %s", type(on_saved).__name__, name)
