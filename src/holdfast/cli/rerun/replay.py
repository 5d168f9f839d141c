"""`holdfast replay`: does a script, run again from a checkpoint, reach the same next checkpoint?"""

from __future__ import annotations

from typing import Annotated

import typer

from ... import bundle
from ...checkpoint import locate, run_at, scan
from ...errors import CheckpointNotFoundError, NotReproducedError, UsageError
from ...harness.again import Again, do_again
from ...records import MANUAL
from ...storage import LocalDisk, real_path
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
    of = real_path(directory if directory is not None else run_at(real_path(start.path))[0])
    end = _next(of, start) if to is None else locate(to, directory=of, disk=LocalDisk())
    goal = name_in(of, real_path(end.path))
    done = do_again(command, of, start, end)
    if not done.is_reached:
        raise UsageError(
            f"the script ended with exit code {done.exit_code} before {goal} was saved: there is nothing to compare. "
            "Give the command exactly as it was run; --dir names the experiment's directory."
        )
    _report(of, start.path, end.path, done, json)
    if done.differing:
        raise NotReproducedError(goal, done.differing[0], len(done.differing))


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


def _report(of: str, start: str, end: str, done: Again, json: bool) -> None:
    if json:
        verdict = Verdict.NOT_EXACT if done.differing else Verdict.PROVED
        facts = {"from": start, "to": end, "resumed": done.resumed, "verdict": str(verdict)}
        Console().json([{**facts, "same_state": not done.differing, "differing": list(done.differing)}])
    elif not done.differing:
        here, there = (as_text.printable(name_in(of, real_path(path))) for path in (start, end))
        how = f"resumed: {as_text.printable(done.resumed)}"
        Console().say(f"Same state, bit for bit: {here} → {there} ({how}).")
