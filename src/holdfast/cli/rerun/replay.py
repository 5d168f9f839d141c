"""`holdfast replay`: does a script, run again from a checkpoint, reach the same next checkpoint?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ... import bundle
from ...checkpoint import locate, run_at, scan
from ...checkpoint import open as open_checkpoint
from ...compare import unlike
from ...errors import CheckpointNotFoundError, CheckpointThinnedError, NotReproducedError, UsageError
from ...harness import Replay, facts_of, scratch
from ...records import MANUAL
from ...storage import LocalDisk
from ...verdict import Verdict
from .._options import Json
from .._output import as_text
from .._output.console import Console
from .._places import name_in


def replay(
    place: Annotated[str, typer.Argument(metavar="BUNDLE", help="The checkpoint to resume from.")],
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND...", help="The script, as it was run: python train.py …"),
    ],
    to: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="A checkpoint to reach, if not the next one.")
    ] = None,
    directory: Annotated[
        str | None,
        typer.Option("--dir", metavar="DIR", help="The experiment's directory, if it is not found."),
    ] = None,
    json: Json = False,
) -> None:
    """Run a script again from one checkpoint to the next, in a scratch directory, and say whether it reaches the same state."""
    start = locate(place)
    if start.record and start.record.details.get("thinned"):
        raise CheckpointThinnedError(start.path)
    of = os.path.realpath(directory if directory is not None else run_at(os.path.realpath(start.path))[0])
    end = _next(of, start) if to is None else locate(to, directory=of, disk=LocalDisk())
    if end.record is None:
        raise CheckpointNotFoundError(end.path, "its record cannot be read")
    goal, disk = name_in(of, os.path.realpath(end.path)), LocalDisk()
    with open_checkpoint(start) as opened, open_checkpoint(end) as expected:
        here, there = (os.path.relpath(os.path.realpath(each.path), of) for each in (start, end))
        with scratch(disk, of, opened.source, f"run/{here}") as where:
            told = Replay(of, where, there, facts_of(end.record.moment))
            code = _run(command, told)
            if bundle.look(disk, told.end) is None:
                raise UsageError(
                    f"the script ended with exit code {code} before {goal} was saved: there is nothing to compare. "
                    "Give the command exactly as it was run; --dir names the experiment's directory."
                )
            with open_checkpoint(told.end) as found:
                resume = found.record.details.get("resume", {})
                verdict = str(resume.get("verdict", "exact")) if isinstance(resume, dict) else "exact"
                differing = unlike(expected, found)
    _report(of, start.path, end.path, verdict, differing, json)
    if differing:
        raise NotReproducedError(goal, differing[0], len(differing))


def _next(of: str, start: bundle.Listed) -> bundle.Listed:
    """The checkpoint that the run saved next: by its parent, or by age."""
    assert start.record is not None
    record = start.record
    later = [
        listed
        for listed in scan(of)
        if listed.record
        and listed.record.run == record.run
        and listed.record.moment.hook != MANUAL
        and listed.record.age_key > record.age_key
    ]
    children = [listed for listed in later if listed.record and listed.record.parent == record.id]
    if not later:
        raise CheckpointNotFoundError(start.path, "no later checkpoint of its run is left to compare with")
    return (children or later)[0]


def _run(command: Sequence[str], told: Replay) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # Its output is for people: a program may be reading ours.
        done = subprocess.run(
            command, env=os.environ | {told.variable: told.to_text()}, stdout=2, check=False
        )
    except OSError as err:
        raise UsageError(f"{command[0]!r} cannot be run: {err.strerror}.") from err
    return done.returncode


def _report(of: str, start: str, end: str, verdict: str, differing: Sequence[str], json: bool) -> None:
    if json:
        facts: dict[str, object] = {"from": start, "to": end, "resumed": verdict}
        facts |= {"same_state": not differing, "differing": differing}
        facts |= {"verdict": str(Verdict.NOT_EXACT if differing else Verdict.PROVED)}
        Console().json([facts])
    elif not differing:
        here, there = (as_text.printable(name_in(of, os.path.realpath(path))) for path in (start, end))
        how = f"resumed: {as_text.printable(verdict)}"
        Console().say(f"Same state, bit for bit: {here} → {there} ({how}).")
