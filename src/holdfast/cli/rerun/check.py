"""`holdfast check -- python train.py`: is a script that was just ported exact? If not, why?"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from ...verdict import Verdict
from .._options import Json, KeptIn, Seed
from .._output import as_text
from .._output.console import Cell, Console
from .._output.exit import VERDICTS
from ._scratch import scratch

if TYPE_CHECKING:
    from ...harness.check import Check, Course

_SHOWN = 3
_MOST_EVENTS = 10_000


def check(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="The script, as it is run: python train.py …")
    ],
    steps: Annotated[int, typer.Option(min=3, help="For how many batches (or epochs) to train.")] = 12,
    every: Annotated[int, typer.Option(min=1, help="After how many of them to save and compare.")] = 1,
    every_event: Annotated[
        bool, typer.Option("--every-event", help="Kill it before each change of the disk, too.")
    ] = False,
    event: Annotated[
        int, typer.Option(min=0, help="Kill it before this change of the disk, too, as --every-event did.")
    ] = 0,
    directory: KeptIn = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Train a few steps uninterrupted, then killed and resumed; say whether it is the same, and what differs first."""
    from ...harness.check import Course
    from ...harness.check import check as run_check

    if every > steps // 3:
        raise UsageError(f"--every {every} is too much for --steps {steps}: at least three saves are needed.")
    events = [event] if event else range(1, _MOST_EVENTS) if every_event else ()
    course = Course(steps, every, secrets.randbelow(10_000) if seed is None else seed, events)
    console = Console(stderr=json)
    with scratch("check", directory) as place:
        report = run_check(command, place, course, lambda line: console.say(as_text.printable(line), "dim"))
    again = _repeat(report, course, command)
    if json:
        shown = {**asdict(report), "verdict": str(report.verdict)}
        Console().json([{"seed": course.seed, "same": report.outcome == "same", **shown, "repeat": again}])
    else:
        console.lines([[], *_conclusion(report, again)])
    code = VERDICTS[report.verdict]
    if code:
        Console(stderr=True).say(f"holdfast: {as_text.printable(_why(report))}", "red")
        raise typer.Exit(code)


def _why(report: Check) -> str:
    match report.outcome:
        case "differs":
            return "resumed, the script does not train what it trains uninterrupted"
        case "does not resume":
            return "killed, the script does not resume"
        case "not reproducible":
            return (
                "the script differs from run to run even uninterrupted, so nothing can be proved of a resume"
            )
        case _:
            if report.findings:
                names = ", ".join(each.name for each in report.findings[:_SHOWN])
                return f"these steps came to the same bits, but this starts from scratch in the resumed script: {names}"
            return (
                f"these steps came to the same bits, but the run itself says of its resume: {report.resumed}"
            )


def _repeat(report: Check, course: Course, command: list[str]) -> str:
    options = f"--steps {course.steps} --every {course.every} --seed {course.seed}"
    if report.event is not None and report.outcome != "same":
        options += f" --event {report.event}"
    return f"holdfast check {options} -- {shlex.join(command)}"


def _conclusion(report: Check, again: str) -> list[list[Cell]]:
    if report.outcome == "same":
        what = f"{as_text.count(report.compared, 'checkpoint')} compared"
        what += f", {as_text.count(len(report.kills), 'kill')}" if report.kills else ""
        is_proved = report.verdict is Verdict.PROVED
        lines: list[list[Cell]] = [
            [
                ("proved   " if is_proved else "same     ", "bold green" if is_proved else "bold yellow"),
                (f"the same state, bit for bit: {what}", ""),
            ]
        ]
        if not is_proved:
            lines += [*_found(report), _row("resumed", str(report.resumed)), _row("", _IGNORE)]
        lines += [_row("note", note) for note in _notes(report)]
        return [*lines, _row("again", again)]
    lines = [
        [(f"{report.outcome}", "bold red"), (f"  {as_text.printable(report.why or report.at or '')}", "")]
    ]
    lines += [_row("state", path) for path in report.differing[:_SHOWN]]
    if len(report.differing) > _SHOWN:
        lines.append(_row("", f"… and {len(report.differing) - _SHOWN} more"))
    if report.resumed is not None:
        lines.append(_row("resumed", report.resumed))
    lines += _found(report)
    if not report.is_reproducible:
        lines += [_row("note", _not_reproducible(report)), _row("", _SEED)]
    return [*lines, _row("again", again)]


def _found(report: Check) -> list[list[Cell]]:
    """What differs in the script, a few of each kind, with what to do."""
    lines: list[list[Cell]] = []
    for kind, group in groupby(report.findings, key=lambda finding: finding.kind):
        found = list(group)
        for finding in found[:_SHOWN]:
            values = (
                f": {finding.then} uninterrupted, {finding.now} resumed"
                if finding.then != finding.now
                else ""
            )
            what = "perhaps" if not finding.is_seen else "first" if report.outcome == "differs" else "named"
            lines.append(_row(what, f"{finding.name} ({kind}){values}"))
        if len(found) > _SHOWN:
            lines.append(_row("", f"… and {len(found) - _SHOWN} more"))
        lines.append(_row("", found[0].hint))
    return lines


_IGNORE = (
    "what is named was not needed in these steps: see to it, or say run.ignore(name) if it decides nothing"
)
_SEED = (
    "seed all that draws at random at the top, as holdfast.rng.seed_everything(0) does, and ask the framework "
    "for deterministic kernels"
)


def _notes(report: Check) -> Iterator[str]:
    if report.left:
        yield f"starts from scratch, as it is left to the script: {', '.join(report.left)}"
    if not report.ends_epoch:
        yield "no epoch ended in these steps, so what happens there was not tried: --steps N --every M"
    if not report.is_reproducible:
        yield f"{_not_reproducible(report)}, so it was resumed where one of them was, without a kill"


def _not_reproducible(report: Check) -> str:
    first = f", first in {', '.join(report.unseeded[:_SHOWN])}" if report.unseeded else ""
    return f"two uninterrupted runs differ{first}"


def _row(what: str, text: str) -> list[Cell]:
    return [(f"{what:<9}", "dim"), (as_text.printable(text), "")]
