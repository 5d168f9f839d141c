"""`holdfast bisect`: the first checkpoint of a run that fails a check, by binary search."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import typer

from ...bundle import Listed
from ...checkpoint import open as open_checkpoint
from ...compare import FiniteCheck, Search, Verdict, first_bad
from ...errors import CheckpointNotFoundError, HoldfastError, UsageError
from ...storage import absolute
from .._options import Json, Only
from .._output import as_text
from .._output.console import Cell, Console
from .._places import find_all, name_in

_SKIP = 125
_ABORT = 128  # from here on an exit code means that the check itself failed, as for git bisect
_STYLES = {"good": "green", "bad": "bold red", "skip": "yellow"}
_Check = Callable[[Listed], tuple[Verdict, str]]


def bisect(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="The directory with the run's checkpoints.")
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="The check. It gets the checkpoint's path as its last argument and in $HOLDFAST_BUNDLE; "
            "exit code 0 means good, 125 skip, any other up to 127 bad.",
        ),
    ] = None,
    nan: Annotated[
        bool, typer.Option("--nan", help="A checkpoint with a NaN or an infinity is bad.")
    ] = False,
    only: Only = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="The run, by the beginning of its id.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the first checkpoint of a run that is bad: by your own check, or by --nan. The oldest and the newest are tried first."""
    if nan == bool(command):
        raise UsageError("pass --nan, or a check after --, such as `holdfast bisect DIR -- python check.py`.")
    if only is not None and not nan:
        raise UsageError("--only belongs to --nan: your own check decides what to look at.")
    line = _of_one_run(directory, find_all(directory), run)
    steps = _Steps(directory, line, _nan_check(only) if nan else _user_check(command or []), not json)
    found = first_bad(len(line), steps.judge)
    if json:
        Console().json([_as_json(line, found, steps.why)])
    else:
        Console().lines([[], *_conclusion(directory, line, found)])


def _of_one_run(directory: str, found: list[Listed], wanted: str | None) -> list[Listed]:
    if unlisted := sum(listed.record is None for listed in found):
        skipped = as_text.count(unlisted, "checkpoint")
        Console(stderr=True).say(f"skipped {skipped} without a readable record.")
    listed = [each for each in found if each.record]
    runs = list(dict.fromkeys(each.record.run for each in listed if each.record))
    if wanted is not None:
        runs = [run for run in runs if run.startswith(wanted)]
    if not runs:
        raise CheckpointNotFoundError(directory, "there are no checkpoints to search")
    if len(runs) > 1:
        ids = ", ".join(as_text.printable(run[:12]) for run in runs[:8])
        raise UsageError(
            f"there are checkpoints of {len(runs)} runs in {directory}: pass --run with one of {ids}."
        )
    return [each for each in listed if each.record and each.record.run == runs[0]]


@dataclass(slots=True)
class _Steps:
    """Judges checkpoints one by one, and reports each verdict at once. `why` has the reason for those that are not good."""

    directory: str
    line: list[Listed]
    check: _Check
    shown: bool
    why: dict[int, str] = field(default_factory=dict)

    def judge(self, index: int) -> Verdict:
        listed = self.line[index]
        try:
            with open_checkpoint(listed) as checkpoint:
                for problem in checkpoint.verify():  # or a check could fail because of a damaged disk
                    raise problem
            verdict, word = self.check(listed)
        except UsageError:
            raise
        except HoldfastError as err:
            verdict, word = "skip", as_text.reason(err)
        if word:
            self.why[index] = word
        if self.shown:
            name = as_text.printable(name_in(self.directory, listed.path))
            cells: list[Cell] = [(f"{'skipped' if verdict == 'skip' else verdict:7}", _STYLES[verdict])]
            Console().lines([[*cells, (f"  {name}", ""), (f"  {word}" if word else "", "dim")]])
        return verdict


def _nan_check(only: str | None) -> _Check:
    finite = FiniteCheck(only)

    def check(listed: Listed) -> tuple[Verdict, str]:
        with open_checkpoint(listed) as checkpoint:
            found = finite.first_nonfinite(checkpoint.source)
        if found is None:
            return "good", ""
        what = "NaN" if found.nans else "infinity"
        return "bad", f"{what} in {as_text.printable(found.path)}"

    return check


def _user_check(command: list[str]) -> _Check:
    def check(listed: Listed) -> tuple[Verdict, str]:
        sys.stdout.flush()
        place = absolute(listed.path)
        try:
            # Its output is for people: a program may be reading ours.
            done = subprocess.run(
                [*command, place], env=os.environ | {"HOLDFAST_BUNDLE": place}, stdout=_stderr(), check=False
            )
        except OSError as err:
            raise UsageError(f"the check {command[0]!r} cannot be run: {err.strerror}.") from err
        if done.returncode < 0 or done.returncode >= _ABORT:
            ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
            raise UsageError(
                f"the check ended with {ended} at {listed.path}, which means neither good nor bad."
            )
        if done.returncode == _SKIP:
            return "skip", "the check skips it"
        return ("bad", f"exit code {done.returncode}") if done.returncode else ("good", "")

    return check


def _stderr() -> int:
    sys.stderr.flush()
    return 2


def _conclusion(directory: str, line: list[Listed], found: Search) -> list[list[Cell]]:
    checks = f"{as_text.count(len(found.verdicts), 'check')} of {as_text.count(len(line), 'checkpoint')}"
    if found.first_bad is None:
        none_judged = found.last_good is None
        what = "could be judged" if none_judged else "is bad: the newest is good"
        return [[(f"No checkpoint {what}; {checks}.", "bold")]]
    listed = line[found.first_bad]
    name = as_text.printable(name_in(directory, listed.path))
    moment = listed.record and as_text.where(listed.record.moment)
    doubt = ""
    if found.last_good is None:
        doubt = (
            "Even the oldest that can be judged is bad: the fault began earlier, or the check always fails."
        )
    elif found.suspects:
        doubt = f"The fault may have begun in one of the {len(found.suspects)} skipped checkpoints before it."
    first: list[Cell] = [("first bad: ", "bold"), (name, "bold red"), (f"  {moment}; {checks}", "")]
    return [first, [(doubt, "yellow")]] if doubt else [first]


def _as_json(line: list[Listed], found: Search, why: dict[int, str]) -> dict[str, object]:
    def path(index: int | None) -> str | None:
        return None if index is None else line[index].path

    return {
        "first_bad": path(found.first_bad),
        "last_good": path(found.last_good),
        "suspects": [path(index) for index in found.suspects],
        "checkpoints": len(line),
        "checks": [
            {"path": path(index), "verdict": verdict, "why": why.get(index)}
            for index, verdict in found.verdicts.items()
        ],
    }
