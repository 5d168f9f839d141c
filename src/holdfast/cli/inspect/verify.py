"""`holdfast verify`: every byte of every checkpoint is read and compared with its digest."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from ...bundle import SUFFIX, Listed, look
from ...checkpoint import Checkpoint
from ...checkpoint import open as open_checkpoint
from ...errors import (
    CheckpointNotFoundError,
    CheckpointUnreadableError,
    DamagedError,
    FormatVersionError,
    HoldfastError,
    PieceDamagedError,
)
from ...records import Leaf
from ...storage import LocalDisk
from .._options import JsonLines
from .._output import as_text
from .._output.console import Cell, Console
from .._output.exit import DAMAGED, NEWER_FORMAT, OK, REFUSED
from .._places import find_all, name_in

_BATCH_BYTES = 256 << 20  # between two steps of the progress bar
_SHOWN = 20

Status = Literal["ok", "damaged", "unreadable", "newer", "gone"]
_LABELS: dict[Status, Cell] = {
    "ok": ("ok", "green"),
    "damaged": ("damaged", "bold red"),
    "unreadable": ("unreadable", "bold red"),
    "newer": ("in a newer format", "yellow"),
    "gone": ("deleted meanwhile", "dim"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one checkpoint. It is "gone" if it was deleted after it had been listed."""

    path: str
    status: Status
    size_bytes: int = 0
    problems: tuple[HoldfastError, ...] = ()


def verify(
    place: Annotated[
        str, typer.Argument(metavar="DIR|BUNDLE", help="A checkpoint, or a directory, searched recursively.")
    ] = ".",
    deep: Annotated[bool, typer.Option("--deep", help="Also compare BLAKE3 digests.")] = False,
    json: JsonLines = False,
) -> None:
    """Read every byte and name what differs from what was saved. The exit code is 1 if anything is damaged."""
    found = find_all(place, namesake=True)
    if not found:
        raise CheckpointNotFoundError(place, "there are no checkpoints to verify")
    began_s = time.perf_counter()
    width = max(len(as_text.printable(name_in(place, listed.path))) for listed in found)
    outcomes = []
    with _progress(found, shown=not json) as (console, advance):
        for outcome in (check(listed, deep, advance) for listed in found):
            outcomes.append(outcome)
            if json:
                console.json([_as_json(outcome)])
            else:
                console.lines(_lines(place, outcome, width))
    if not json:
        Console().lines([[], _summary(outcomes, time.perf_counter() - began_s)])
    raise typer.Exit(_exit_code(outcomes))


def check(listed: Listed, deep: bool, advance: Callable[[int], None] = lambda size_bytes: None) -> Outcome:
    """Read the checkpoint that has this path now; `advance` gets the number of bytes read."""
    try:
        if isinstance(listed.problem, CheckpointUnreadableError) and not listed.path.endswith(SUFFIX):
            raise listed.problem  # a folder
        with open_checkpoint(listed.path) as checkpoint:
            problems: list[HoldfastError] = []
            for batch, size_bytes in _batches(checkpoint):
                problems += checkpoint.source.problems(batch, deep=deep)
                advance(size_bytes)
            status: Status = "damaged" if problems else "ok"
            return Outcome(listed.path, status, checkpoint.record.size_bytes, tuple(problems))
    except CheckpointNotFoundError:
        again = look(LocalDisk(), listed.path)  # a bundle without a record is there, but cannot be opened
        if again is None or again.problem is None:
            return Outcome(listed.path, "gone")
        return Outcome(listed.path, "damaged", problems=(again.problem,))
    except DamagedError as err:
        return Outcome(listed.path, "damaged", problems=(err,))
    except CheckpointUnreadableError as err:
        return Outcome(listed.path, "unreadable", problems=(err,))
    except FormatVersionError as err:
        return Outcome(listed.path, "newer", problems=(err,))


def _batches(checkpoint: Checkpoint) -> Iterator[tuple[list[Leaf], int]]:
    batch: list[Leaf] = []
    size_bytes = 0
    for leaf in checkpoint.leaves():
        batch.append(leaf)
        size_bytes += leaf.size_bytes
        if size_bytes >= _BATCH_BYTES:
            yield batch, size_bytes
            batch, size_bytes = [], 0
    yield batch, size_bytes


@contextlib.contextmanager
def _progress(found: list[Listed], shown: bool) -> Iterator[tuple[Console, Callable[[int], None]]]:
    """Where to print, and a callback for bytes read, shown as a bar on a terminal."""
    if not shown or not sys.stderr.isatty():
        yield Console(), lambda size_bytes: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=sum(listed.record.bytes_captured for listed in found if listed.record))
        # On the bar's own terminal lines go through its console, which prints them above the bar.
        out = console if sys.stdout.isatty() else Console()
        yield out, lambda size_bytes: bar.advance(task, size_bytes)


def _lines(place: str, outcome: Outcome, width: int) -> Iterator[list[Cell]]:
    name = as_text.printable(name_in(place, outcome.path)).ljust(width)
    size = as_text.size(outcome.size_bytes) if outcome.size_bytes else ""
    yield [(f"{outcome.status:7}", _LABELS[outcome.status][1]), (f"  {name}  {size:>8}".rstrip(), "")]
    for problem in outcome.problems[:_SHOWN]:
        yield [(f"         {_describe(problem)}", "red")]
    if len(outcome.problems) > _SHOWN:
        yield [(f"         … {len(outcome.problems) - _SHOWN} more (--json shows them)", "red")]


def _describe(problem: HoldfastError) -> str:
    if not isinstance(problem, PieceDamagedError):
        return as_text.reason(problem)
    leaf, found = as_text.printable(problem.leaf), as_text.printable(problem.found)
    if not problem.found.startswith("unreadable"):
        found = f"found {found[:12]}"
    return f"leaf {leaf}: {as_text.printable(problem.file)}, expected {problem.expected[:12]}, {found}"


def _summary(outcomes: list[Outcome], took_s: float) -> list[Cell]:
    cells: list[Cell] = [(as_text.count(len(outcomes), "checkpoint") + ": ", "bold")]
    for status, (label, style) in _LABELS.items():
        if number := sum(outcome.status == status for outcome in outcomes):
            cells += [(f"{number:,} {label}", style), (", ", "")]
    read = as_text.size(sum(outcome.size_bytes for outcome in outcomes))
    return [*cells, (f"{read} in {took_s:.1f} s", "")]


def _exit_code(outcomes: list[Outcome]) -> int:
    met = {outcome.status for outcome in outcomes}
    codes: tuple[tuple[Status, int], ...] = (
        ("damaged", DAMAGED),
        ("unreadable", REFUSED),
        ("newer", NEWER_FORMAT),
    )
    return next((code for status, code in codes if status in met), OK)


def _as_json(outcome: Outcome) -> dict[str, object]:
    problems = [
        {"leaf": p.leaf, "file": p.file, "expected": p.expected, "found": p.found}
        if isinstance(p, PieceDamagedError)
        else {"problem": str(p)}
        for p in outcome.problems
    ]
    about = {"path": outcome.path, "status": outcome.status, "size_bytes": outcome.size_bytes}
    return {**about, "problems": problems}
