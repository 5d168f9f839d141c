"""`holdfast prune`: what of a directory would stay and what would go, and why; with `--apply` it goes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ...errors import CheckpointNotFoundError, UsageError
from ...policy import Keep, KeepBest, KeepEvery, KeepLast, MaxBytes, Verdict, joined
from ...runtime import plan
from ...runtime import prune as remove_all
from .._options import JsonLines
from .._output import as_text
from .._output.columns import Column, Row, layout
from .._output.console import Console
from .._places import find_all, name_in

_COLUMNS = (Column("name", floor=24, keep_end=True), Column(""), Column("why"))


def prune(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="An experiment's directory.")],
    keep_last: Annotated[int | None, typer.Option(metavar="N", help="Keep the newest N.")] = None,
    keep_best: Annotated[int | None, typer.Option(metavar="K", help="Keep the K best by --monitor.")] = None,
    monitor: Annotated[str | None, typer.Option(metavar="METRIC", help="Such as val_loss.")] = None,
    direction: Annotated[str, typer.Option(metavar="min|max", help="Which values are best.")] = "min",
    keep_every: Annotated[
        str | None, typer.Option(metavar="INTERVAL", help="Such as '5 epochs', '1000 steps', 6h.")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="A budget for each folder, such as '20 GB'.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose checkpoints; else those of the newest's run.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--plan", help="Remove what goes, or only say what would go.")
    ] = False,
    json: JsonLines = False,
) -> None:
    """Say what would stay in each folder of DIR, what would go, and why; with --apply it goes."""
    keep = _keep(keep_last, keep_best, monitor, direction, keep_every, max_bytes)
    find_all(directory)  # says so if there is no such place
    do = remove_all if apply else plan
    verdicts = do(directory, keep, run=run)
    if json:
        Console().json(_fields(verdict) for verdict in verdicts)
        return
    if not verdicts:
        raise CheckpointNotFoundError(directory, "no run has saved a checkpoint here")
    goes, console = "gone" if apply else "goes", Console()
    rows: list[Row] = [
        [
            (as_text.printable(name_in(directory, verdict.path)), ""),
            ("stays", "green") if verdict.stays else (goes, "red"),
            (as_text.printable(verdict.why), "dim"),
        ]
        for verdict in verdicts
    ]
    num_going = sum(not verdict.stays for verdict in verdicts)
    num_staying = len(verdicts) - num_going
    staying = f"{as_text.count(num_staying, 'checkpoint')} {'stays' if num_staying == 1 else 'stay'}"
    going = f"{num_going:,} {'gone' if apply else 'would go'}"
    console.lines([*layout(_COLUMNS, rows, console.limit)[0], [], [(f"{staying}, {going}", "bold")]])


def _fields(verdict: Verdict) -> dict[str, object]:
    about = {"path": verdict.path, "id": verdict.record.id}
    return {**about, "stays": verdict.stays, "why": verdict.why}


def _keep(
    last: int | None,
    best: int | None,
    monitor: str | None,
    direction: str,
    every: str | None,
    max_bytes: str | None,
) -> Keep:
    """What the options say, as one choice.

    Raises:
        UsageError: they say nothing, or what has no meaning.
    """
    if (best is None) != (monitor is None):
        raise UsageError(
            "--keep-best needs --monitor, the name of the metric, such as val_loss, and --monitor needs it."
        )
    if best is None and direction != "min":
        raise UsageError("--direction says which are best: pass --keep-best, too.")
    parts: list[Keep] = [] if last is None else [KeepLast(last)]
    if best is not None and monitor is not None:
        side: Literal["min", "max"] = direction  # type: ignore[assignment]  # refused there if it is neither
        parts.append(KeepBest(best, monitor, side))
    if every is not None:
        parts.append(KeepEvery(every))
    keep = joined(parts, None if max_bytes is None else MaxBytes(max_bytes))
    if keep is None:
        raise UsageError(
            "say what to keep: --keep-last, --keep-best, --keep-every, or --max-bytes, a budget."
        )
    return keep
