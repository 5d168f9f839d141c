"""`holdfast top`: watches the runs that save below a directory: what they have saved, what it costs, what is at risk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated

import typer

from ...bundle import Listed
from ...checkpoint import run_at
from ...records import CheckpointRecord
from .._options import Directory, JsonLines
from .._output import as_json, as_text
from .._output.columns import Column, Row, layout
from .._output.console import Console
from .._places import find_all, name_in, readable

_COLUMNS = (
    Column("run"),
    Column("state"),
    Column("saves", right=True),
    Column("newest", floor=20, keep_end=True),
    Column("where", floor=16, keep_end=True, expendable=3),
    Column("step", right=True),
    Column("at risk", right=True),
    Column("trained", right=True, expendable=4),
    Column("blocked", right=True),
    Column("behind", right=True, expendable=2),
    Column("written", right=True),
    Column("shared", right=True, expendable=1),
    Column("durability", expendable=6),
    Column("cadence", floor=16, expendable=5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeen:
    """A run, as known from its checkpoints.

    Attributes:
        is_running: whether a process holds the directory and this run was the last to save; None if unknown.
        at_risk_s: seconds since the newest checkpoint was begun, the work that a kill would lose now; None if it is not running.
        blocked_s, background_s: of the saves whose checkpoints are still there.
    """

    run: str
    is_running: bool | None
    saves: int
    newest: Listed
    record: CheckpointRecord
    at_risk_s: float | None
    blocked_s: float
    background_s: float
    bytes_written: int
    bytes_shared: int


def top(
    directory: Directory = ".",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the runs once and exit.")] = False,
    json: JsonLines = False,
) -> None:
    """Watch the runs that save in a directory: the newest checkpoint, its costs, and the work at risk."""
    console = Console()
    if once or json or not console.is_terminal:
        while True:
            seen = look(readable(find_all(directory)), run_at, time.time())
            if json:
                console.json(_as_json(run) for run in seen)
            else:
                console.lines(_lines(directory, seen, console))
            if once:
                return
            console.file.flush()
            time.sleep(every)
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            lines = _lines(directory, look(find_all(directory), run_at, time.time()), console)
            text = Text("\n").join(Text.assemble(*[(cell, style) for cell, style in line]) for line in lines)
            live.update(text, refresh=True)
            time.sleep(every)


Running = Callable[[str], tuple[str, bool | None]]


def look(found: Sequence[Listed], run_at: Running, now_s: float) -> list[RunSeen]:
    """The runs of these checkpoints, in the order of `scan`: the run that saved last comes last.

    `run_at`: of a checkpoint's path the experiment directory, and whether a process runs there.
    """
    by_run: dict[str, list[Listed]] = {}
    for listed in found:
        if listed.record is not None and listed.record.seq:  # 0: no run saved it
            by_run.setdefault(listed.record.run, []).append(listed)
    runs = list(by_run.items())
    places = {run: run_at(saves[-1].path) for run, saves in runs}
    last = {place: run for run, (place, _) in places.items()}  # only the last of a directory can still run
    return [
        _seen(run, saves, places[run][1] if last[places[run][0]] == run else False, now_s)
        for run, saves in runs
    ]


def _seen(run: str, saves: Sequence[Listed], running: bool | None, now_s: float) -> RunSeen:
    records = [listed.record for listed in saves if listed.record is not None]
    newest = records[-1]
    return RunSeen(
        run=run,
        is_running=running,
        saves=len(records),
        newest=saves[-1],
        record=newest,
        at_risk_s=_age_s(newest, now_s) if running else None,
        blocked_s=sum(record.blocked_s for record in records),
        background_s=sum(as_text.number(record.details, "background_s") or 0.0 for record in records),
        bytes_written=sum(record.bytes_written for record in records),
        bytes_shared=sum(record.bytes_shared for record in records),
    )


def _age_s(record: CheckpointRecord, now_s: float) -> float | None:
    try:
        return max(0.0, now_s - datetime.fromisoformat(record.created).timestamp())
    except (ValueError, OverflowError, OSError):
        return None


def _lines(directory: str, seen: Sequence[RunSeen], console: Console) -> list[list[tuple[str, str]]]:
    if not seen:
        return [[(f"No run has saved anything in {as_text.printable(directory)} yet.", "")]]
    return layout(_COLUMNS, [_row(directory, run) for run in seen], console.limit)[0]


def _row(directory: str, seen: RunSeen) -> Row:
    record = seen.record
    state = {True: ("running", "green"), False: ("ended", "dim"), None: ("?", "dim")}[seen.is_running]
    elapsed_s, cadence = as_text.number(record.details, "elapsed_s"), record.details.get("cadence", "")
    return [
        (as_text.printable(seen.run[:8]), "bold"),
        state,
        (f"{seen.saves:,}", ""),
        (as_text.printable(name_in(directory, seen.newest.path)), ""),
        (as_text.where(record.moment), ""),
        (str(record.moment.step), ""),
        (as_text.seconds(seen.at_risk_s), "yellow"),
        (as_text.seconds(elapsed_s), ""),
        (as_text.seconds(seen.blocked_s), ""),
        (as_text.seconds(seen.background_s), ""),
        (as_text.size(seen.bytes_written), ""),
        (as_text.size(seen.bytes_shared), "green" if seen.bytes_shared else ""),
        (record.durability, ""),
        (as_text.printable(cadence) if isinstance(cadence, str) else "", "dim"),
    ]


def _as_json(seen: RunSeen) -> dict[str, object]:
    facts = {each.name: getattr(seen, each.name) for each in fields(seen) if each.name != "record"}
    return {**facts, "newest": {"path": seen.newest.path, **as_json.of_record(seen.record)}}
