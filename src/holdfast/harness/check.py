"""A script that was just ported: does it train the same, killed and resumed after a few steps, as it does uninterrupted?"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..compare import unlike
from ..variables import ALL_OF_THEM
from ..verdict import Verdict
from ._findings import Finding, findings
from ._lives import Course as Course
from ._lives import Known, Lives, number_of
from ._script import Injury
from ._trace import Glimpse

Tell: TypeAlias = Callable[[str], None]
Outcome: TypeAlias = Literal["same", "differs", "does not resume", "not reproducible"]

_BEGAN_AGAIN = (
    "it began again, although there was a checkpoint. It has to resume by itself, in the directory that it saved to: "
    "pass resume=True, and a directory whose name is the same each time"
)
_NOT_YET_SEEN = "the state was the same in these steps, but the resumed script is not what it was"
_NOT_NEEDED = "the state was the same in all these steps, which had no need of what starts from scratch"


@dataclass(slots=True)
class Check:
    """The report.

    Attributes:
        outcome: "same"; "differs", after a resume; "does not resume": it fails then, or begins again; "not
            reproducible": it differs after a resume, but from run to run as well, and nothing else is known to be lost.
        verdict: `PROVED` if the same, and the run itself says no less of its resume; what the run says if that is less,
            or if not reproducible; `EXACT_BUT_FOR` if the same, and variables of the script start from scratch that nothing in these
            steps had need of; else `NOT_EXACT`.
        compared: how many checkpoints were compared.
        ends_epoch: whether the end of an epoch was among the steps, if the script has epochs; it is killed after one.
        resumed: the verdict of the last resume, in the run's own words; None if there was none.
        named: the variables that the run says were lost in the last resume.
        kills: where it was killed, and what that left.
        event: the last change of the disk before which it was killed; None if there was none.
        at: the first checkpoint that differs; None if none does.
        differing: the paths at which it does.
        findings: what differs first in the script, or may be the cause; the likeliest first. If the same: plain data that
            start from scratch, such as a count for the log.
        left: variables that start from scratch, as the run was told to leave them to the script.
        why: what happened instead of a resume, or if the state does not differ.
        unseeded: what differs first between two uninterrupted runs; empty if they are the same, or none is known.
        is_reproducible: whether two uninterrupted runs are the same. If not, it is resumed where an uninterrupted run
            was, without a kill.
    """

    outcome: Outcome = "same"
    verdict: Verdict = Verdict.NOT_COMPARED
    compared: int = 0
    ends_epoch: bool = True
    resumed: str | None = None
    named: list[str] = field(default_factory=list)
    kills: list[Injury] = field(default_factory=list)
    event: int | None = None
    at: str | None = None
    differing: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    why: str = ""
    unseeded: list[str] = field(default_factory=list)
    is_reproducible: bool = True


def check(command: Sequence[str], directory: str, course: Course, tell: Tell) -> Check:
    """Run `command` twice uninterrupted, then killed and resumed; each run saves below its own folder in `directory`.

    `tell` gets a line of text for each part.

    Raises:
        NothingProvedError: the script cannot be run, fails uninterrupted, saves nothing, or ends too early.
    """
    first, again = (Lives(command, f"{directory}/{name}", course) for name in ("uninterrupted", "again"))
    tell("uninterrupted")
    known = Known(first, first.uninterrupted(course.steps))
    last = known.seen[-1].number
    tell(f"uninterrupted, once more: {last} steps")
    known.again = again.uninterrupted(last)
    report = Check(ends_epoch=known.first_end > 0 or not known.has_epochs)
    earliest = known.first_end + course.every + 1  # so that it resumes within a later epoch
    earliest = earliest if earliest < last else min(course.every + 1, last - 1)
    rng = random.Random(course.seed)
    at = rng.randint(earliest, max(earliest, 2 * last // 3))
    if _differ(report, known, again, known.again, ()):
        tell(f"resumed at step {at}, as it differs from run to run")
        _resume_uninterrupted(report, known, again, Lives(command, f"{directory}/resumed", course), at)
        return report
    killed = Lives(command, f"{directory}/killed", course)
    tell(f"killed at step {at}, and resumed")
    killed.live(last, kill_at=at)
    later = _once_more(rng, killed, known, course.every)
    _resume(report, known, killed, last, kill_at=later)
    if later and report.outcome == "same":
        tell(f"killed again at step {later}, and resumed")
        _resume(report, known, killed, last)
    for event in course.events:
        lives = Lives(command, f"{directory}/event{event}", course)
        if report.outcome != "same" or lives.live(min(last, 2 * course.every), kill_at_event=event)[0] >= 0:
            break  # it ended before that
        tell(f"killed before change {event} of the disk, and resumed")
        _resume(report, known, lives, min(last, 3 * course.every), may_begin_again=True)
        report.event = event
    report.verdict = _verdict(report)
    return report


def _once_more(rng: random.Random, killed: Lives, known: Known, every: int) -> int:
    """Where to kill it again, once it has resumed and saved: what changes late is lost in a late kill only. 0: nowhere."""
    newest = killed.script.newest()
    earliest = (0 if newest is None else number_of(newest, known.seen)) + every + 1
    latest = known.seen[-1].number - 1
    return rng.randint(earliest, latest) if earliest <= latest else 0


def _verdict(report: Check) -> Verdict:
    """What was proved, unless the run itself says less of its resume."""
    said = Verdict.NOT_COMPARED if report.resumed is None else Verdict.of(report.resumed)
    if report.outcome == "not reproducible":
        return said
    if report.outcome != "same":
        return Verdict.NOT_EXACT
    if report.findings:
        return min(Verdict.EXACT_BUT_FOR, said) if said > Verdict.NOT_COMPARED else Verdict.EXACT_BUT_FOR
    if (
        report.resumed == f"{Verdict.EXACT_BUT_FOR}: {ALL_OF_THEM}"
    ):  # which the run has not looked at, and this has
        return Verdict.PROVED
    return said if Verdict.NOT_COMPARED < said < Verdict.EXACT else Verdict.PROVED


def _differ(
    report: Check, known: Known, other: Lives, seen: Sequence[Glimpse], again: Sequence[Glimpse]
) -> bool:
    """Compare each checkpoint of `other` with that of the uninterrupted life, and note the first that differs."""
    there = dict(other.checkpoints())
    for key, listed in known.lives.checkpoints():
        if key not in there:
            continue
        report.compared += 1
        if differing := unlike(listed, there[key]):
            report.at, report.differing = known.lives.script.name_of(listed), differing
            report.findings = findings(known.seen, seen, again, named=report.named, holds=known.lives.holds())
            return True
    return False


def _resume(
    report: Check, known: Known, killed: Lives, last: int, *, kill_at: int = 0, may_begin_again: bool = False
) -> None:
    """Let a killed script resume, come to the counted hook `last`, or be killed again before, and be compared."""
    injury = killed.script.examine("killed")
    report.kills.append(injury)
    if injury.damaged:
        report.outcome, report.why = "does not resume", f"the kill has damaged {', '.join(injury.damaged)}"
        return
    seen = _live_on(report, known, killed, last, kill_at=kill_at, may_begin_again=may_begin_again)
    if report.outcome != "same":
        return
    if _differ(report, known, killed, seen, known.again):
        report.outcome = "differs"
    elif lost := _lost(report, known, seen):
        _judge(report, lost)


def _live_on(
    report: Check, known: Known, lives: Lives, last: int, *, kill_at: int = 0, may_begin_again: bool = False
) -> list[Glimpse]:
    """Let it resume, as far as the counted hook `last` or `kill_at`; note how, and return what was seen."""
    newest = lives.script.newest()
    done = 0 if newest is None else number_of(newest, known.seen)
    code, seen = lives.live(last, done=done, kill_at=kill_at)
    ended = lives.script.newest()
    resumed: Any = None if ended is None or ended.record is None else ended.record.details.get("resume")
    if resumed:
        report.resumed = str(resumed["verdict"])
        report.named = [each for each in resumed.get("unsaved", ()) if each != ALL_OF_THEM]
    why = ""
    if code and not (kill_at and code == -signal.SIGKILL):
        why = f"it ended with exit code {code}: {lives.script.last_words}"
    elif not resumed and not (may_begin_again and newest is None):
        why = _BEGAN_AGAIN
    if why:
        report.outcome, report.why = "does not resume", why
    return seen


def _lost(report: Check, known: Known, seen: Sequence[Glimpse]) -> list[Finding]:
    """What is not as it was where the script resumes: the steps that are compared may not need it."""
    found = findings(known.seen, seen, known.again, only_first=True, holds=known.lives.holds())
    there = [each for each in found if each.is_seen]
    report.left = list(dict.fromkeys([*report.left, *(each.name for each in there if each.is_left)]))
    return [each for each in there if not each.is_left]


def _judge(report: Check, lost: list[Finding]) -> None:
    """Every later save has the same state: plain data that start from scratch are named, all else is a difference."""
    is_needless = all(each.may_decide_nothing for each in lost)
    report.outcome, report.why = ("same", _NOT_NEEDED) if is_needless else ("differs", _NOT_YET_SEEN)
    report.findings = lost


def _resume_uninterrupted(report: Check, known: Known, again: Lives, copy: Lives, at: int) -> None:
    """Two uninterrupted lives differ: let a copy of the second resume where that was, and be compared with it."""
    apart, report.findings = report.findings, []
    report.unseeded = [each.name for each in apart if each.is_seen]
    report.is_reproducible, report.at, report.differing = False, None, []
    again.copy_to(copy, known.again, at)
    of_second = Known(again, known.again)
    seen = _live_on(report, of_second, copy, known.again[-1].number)
    if report.outcome == "same":
        is_other = _differ(report, of_second, copy, seen, ())
        if (lost := _lost(report, of_second, seen)) and is_other:
            suspects = [each for each in report.findings if not each.is_seen]
            report.outcome, report.findings = "differs", [*lost, *suspects]
        elif lost:
            _judge(report, lost)
        elif is_other:
            report.outcome = "not reproducible"
            report.findings = [*(each for each in apart if each.is_seen), *report.findings]
    report.verdict = _verdict(report)
