"""A script that was just ported: does it train the same, killed and resumed after a few steps, as it does uninterrupted?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..bundle import Listed
from ..compare import unlike
from ..errors import NothingProvedError
from ..verdict import Verdict
from ._findings import Finding, findings
from ._life import LIFE, Life
from ._replay import DIRECTORY, facts_of
from ._script import PLACEHOLDER, Injury, Script
from ._trace import Glimpse, read_trace

Tell: TypeAlias = Callable[[str], None]
Outcome: TypeAlias = Literal["same", "differs", "does not resume", "not reproducible"]

_FEWEST = 3  # hooks at which it can save: to resume from one, to lose one, to compare one
_BEGAN_AGAIN = (
    "it began again, although there was a checkpoint. It has to resume by itself, in the directory that it saved to: "
    "pass resume=True, and a directory whose name is the same each time"
)
_NOT_YET_SEEN = "the state was the same in these steps, but the resumed script is not what it was"


@dataclass(frozen=True, slots=True)
class Course:
    """How the script is run.

    Attributes:
        steps: how many batches, or ends of epochs, it trains for.
        every: after how many of them it saves.
        seed: for where it is killed.
        events: changes of the disk, counted from 1, before each of which it is killed as well.
    """

    steps: int
    every: int
    seed: int
    events: Sequence[int] | range = ()


@dataclass(slots=True)
class Check:
    """The report.

    Attributes:
        outcome: "same"; "differs", after a kill; "does not resume": it fails then, or begins again; "not reproducible":
            two uninterrupted runs differ already, so nothing can be said of a resume.
        verdict: `PROVED` if the same, `NOT_COMPARED` if not reproducible, else `NOT_EXACT`.
        compared: how many checkpoints were compared.
        ends_epoch: whether the end of an epoch was among the steps, if the script has epochs; it is killed after one.
        resumed: the verdict of the last resume, in the run's own words; None if there was none.
        kills: where it was killed, and what that left.
        event: the last change of the disk before which it was killed; None if there was none.
        at: the first checkpoint that differs; None if none does.
        differing: the paths at which it does.
        findings: what differs first in the script, or may be the cause; the likeliest first.
        why: what happened instead of a resume, or if the state does not differ.
    """

    outcome: Outcome = "same"
    verdict: Verdict = Verdict.NOT_COMPARED
    compared: int = 0
    ends_epoch: bool = True
    resumed: str | None = None
    kills: list[Injury] = field(default_factory=list)
    event: int | None = None
    at: str | None = None
    differing: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    why: str = ""


def check(command: Sequence[str], directory: str, course: Course, tell: Tell) -> Check:
    """Run `command` twice uninterrupted, then killed and resumed; each run saves below its own folder in `directory`.

    `tell` gets a line of text for each part.

    Raises:
        NothingProvedError: the script cannot be run, fails uninterrupted, saves nothing, or ends too early.
    """
    first, again = (_Lives(command, f"{directory}/{name}", course) for name in ("uninterrupted", "again"))
    tell("uninterrupted")
    known = _Known(first, first.uninterrupted(course.steps))
    last = known.seen[-1].number
    tell(f"uninterrupted, once more: {last} steps")
    known.again = again.uninterrupted(last)
    report = Check()
    if _differ(report, known, again, known.again, ()):
        report.outcome = "not reproducible"
        report.findings = [each for each in report.findings if each.is_seen]
        return report
    report.ends_epoch = known.first_end > 0 or not known.has_epochs
    killed = _Lives(command, f"{directory}/killed", course)
    earliest = known.first_end + course.every + 1  # so that it resumes within a later epoch
    earliest = earliest if earliest < last else min(course.every + 1, last - 1)
    at = random.Random(course.seed).randint(earliest, max(earliest, 2 * last // 3))
    tell(f"killed at step {at}, and resumed")
    killed.live(last, kill_at=at)
    _resume(report, known, killed, last)
    for event in course.events:
        lives = _Lives(command, f"{directory}/event{event}", course)
        if report.outcome != "same" or lives.live(min(last, 2 * course.every), kill_at_event=event)[0] >= 0:
            break  # it ended before that
        tell(f"killed before change {event} of the disk, and resumed")
        _resume(report, known, lives, min(last, 3 * course.every), may_begin_again=True)
        report.event = event
    report.verdict = Verdict.PROVED if report.outcome == "same" else Verdict.NOT_EXACT
    return report


class _Lives:
    """The lives of one script below a directory of its own."""

    def __init__(self, command: Sequence[str], directory: str, course: Course) -> None:
        self.script = Script(command, directory)
        self._course = course
        self._num_lives = 0

    def live(self, last: int, **more: int) -> tuple[int, list[Glimpse]]:
        """One more life, as far as the counted hook `last`; its exit code, and what was seen."""
        self._num_lives += 1
        trace = f"{self.script.directory}.trace{self._num_lives}"
        life = Life(trace, self._course.every, last, **more)
        return self.script.run(told={LIFE: life.to_text()}), read_trace(trace)

    def uninterrupted(self, last: int) -> list[Glimpse]:
        code, seen = self.live(last)
        if code:
            raise NothingProvedError(
                f"the script fails even uninterrupted, with exit code {code}: {self.script.last_words}"
            )
        if self.script.newest() is None:
            raise NothingProvedError(
                "the script saved no checkpoint where it should: Holdfast's runs do so by themselves, "
                f"everything else has to use {PLACEHOLDER} in the command or ${DIRECTORY}."
            )
        if seen[-1].number < _FEWEST:
            raise NothingProvedError(
                f"the script ended after {seen[-1].number} of the batches and epochs at whose end a run can save; at "
                f"least {_FEWEST} are needed."
            )
        return seen

    def checkpoints(self) -> Iterator[tuple[object, Listed]]:
        """Each checkpoint with what identifies it in every life: where its run was; oldest first."""
        times: Counter[object] = Counter()
        for listed in self.script.checkpoints():
            assert listed.record is not None
            facts = tuple(facts_of(listed.record.moment).items())
            times[facts] += 1
            yield (facts, times[facts]), listed


@dataclass(slots=True)
class _Known:
    """The uninterrupted lives, and what was seen in them."""

    lives: _Lives
    seen: Sequence[Glimpse]
    again: Sequence[Glimpse] = ()

    @property
    def has_epochs(self) -> bool:
        return any(each.moment["hook"] == "epoch_start" for each in self.seen)

    @property
    def first_end(self) -> int:
        """The counted hook that is the first end of an epoch; 0 if there is none."""
        return next((each.number for each in self.seen if each.moment["hook"] == "epoch_end"), 0)


def _differ(
    report: Check, known: _Known, other: _Lives, seen: Sequence[Glimpse], again: Sequence[Glimpse]
) -> bool:
    """Compare each checkpoint of `other` with that of the uninterrupted life, and note the first that differs."""
    there = dict(other.checkpoints())
    for key, listed in known.lives.checkpoints():
        if key not in there:
            continue
        report.compared += 1
        if differing := unlike(listed, there[key]):
            report.at, report.differing = known.lives.script.name_of(listed), differing
            report.findings = findings(known.seen, seen, again)
            return True
    return False


def _resume(
    report: Check, known: _Known, killed: _Lives, last: int, *, may_begin_again: bool = False
) -> None:
    """Let a killed script resume, come to the counted hook `last`, and be compared."""
    injury = killed.script.examine("killed")
    report.kills.append(injury)
    newest = killed.script.newest()
    code, seen = killed.live(last, done=0 if newest is None else _number_of(newest, known.seen))
    ended = killed.script.newest()
    resumed: Any = None if ended is None or ended.record is None else ended.record.details.get("resume")
    if resumed:
        report.resumed = str(resumed["verdict"])
    if injury.damaged:
        report.why = f"the kill has damaged {', '.join(injury.damaged)}"
    elif code:
        report.why = f"it ended with exit code {code}: {killed.script.last_words}"
    elif not resumed and not (may_begin_again and newest is None):
        report.why = _BEGAN_AGAIN
    if report.why:
        report.outcome = "does not resume"
    elif _differ(report, known, killed, seen, known.again):
        report.outcome = "differs"
    else:
        # The steps that were compared may not have needed it: a schedule that changes nothing in them.
        lost = [each for each in findings(known.seen, seen, known.again, only_first=True) if each.is_seen]
        if lost:
            report.outcome, report.findings, report.why = "differs", lost, _NOT_YET_SEEN


def _number_of(listed: Listed, seen: Sequence[Glimpse]) -> int:
    """The counted hook at which it was saved."""
    assert listed.record is not None
    facts = facts_of(listed.record.moment)
    return next((each.number for each in seen if each.moment == facts), 0)
