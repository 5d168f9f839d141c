"""`holdfast ls`: every checkpoint below a directory, from their records alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from ... import collector
from ...bundle import SUFFIX, Listed
from ...errors import CheckpointDamagedError, CheckpointUnreadableError, FormatVersionError
from ...records import CheckpointRecord
from .._options import Directory, JsonLines
from .._output import as_json, as_text
from .._output.columns import Column, Row, layout
from .._output.console import Cell, Console
from .._output.disk import Sharing, is_pinned
from .._places import find_all, name_in

_COLUMNS = (
    Column("name", floor=24, keep_end=True),
    Column("kind", expendable=4),
    Column("where", floor=20, keep_end=True),
    Column("step", right=True),
    Column("saved"),
    Column("metrics", floor=12, expendable=1),
    Column("size", right=True, expendable=3),
    Column("written", right=True),
    Column("shared", right=True, expendable=2),
    Column("captured", right=True, expendable=8),
    Column("blocked", right=True, expendable=6),
    Column("behind", right=True, expendable=7),
    Column("durability", expendable=9),
    Column("reason", floor=16, expendable=5),
)
# Only if some checkpoint has something to show there.
_SIGNS = (
    Column("values", floor=16),
    Column("marks", expendable=2),
    Column("resumed", floor=16, expendable=4),
)


def ls(
    directory: Directory = ".",
    wide: Annotated[
        bool, typer.Option("--wide", "-w", help="Show all columns, however long the lines.")
    ] = False,
    json: JsonLines = False,
) -> None:
    """List the checkpoints in a directory, newest last, and what they take on disk."""
    found, console = find_all(directory), Console()
    if json:
        console.json(_as_json(listed) for listed in found)
        return
    if not found:
        Console(stderr=True).say(f"There are no checkpoints in {as_text.printable(directory)}.")
        return
    with collector.paused():
        console.lines(_table(directory, found, console, wide))


def _table(directory: str, found: Sequence[Listed], console: Console, wide: bool) -> list[list[Cell]]:
    """The checkpoints line by line, and below them what they take on disk."""
    rows = _rows(directory, found, time.time() if console.is_terminal else None)
    columns, rows = _with_signs(found, rows)
    lines, left_out = layout(columns, rows, None if wide else console.limit)
    lines += [[], _summary(found), *_cadence(found)]
    if left_out:
        lines.append([(f"hidden columns: {', '.join(left_out)} (--wide shows them)", "dim")])
    return lines


def _rows(directory: str, found: Sequence[Listed], now_s: float | None) -> list[Row]:
    """`now_s` turns times into ages, for people who read the output now."""
    rows: list[Row] = []
    for listed in found:
        name = as_text.printable(name_in(directory, listed.path))
        record = listed.record
        if record is None:
            rows.append([(name, "red"), (_why(listed), "red")])
            continue
        saved = as_text.local_time(record.created) if now_s is None else as_text.age(record.created, now_s)
        rows.append(
            [
                (name, "bold"),
                (as_text.kind(record), ""),
                (as_text.where(record.moment), ""),
                (str(record.moment.step), ""),
                (saved, ""),
                (as_text.metrics(record.metrics), "cyan"),
                (as_text.size(record.size_bytes), ""),
                (as_text.size(record.bytes_written), ""),
                (as_text.size(record.bytes_shared), "green" if record.bytes_shared else ""),
                (as_text.size(record.bytes_captured), ""),
                (as_text.seconds(record.blocked_s), ""),
                (as_text.seconds(as_text.number(record.details, "background_s")), ""),
                (record.durability, ""),
                (as_text.printable(record.reason), "dim"),
            ]
        )
    return rows


def _with_signs(found: Sequence[Listed], rows: list[Row]) -> tuple[Sequence[Column], list[Row]]:
    """The table with columns for non-finite values, marks and resumes before the last one, where any checkpoint has them."""
    signs = [_signs(listed.path, listed.record) for listed in found]
    shown = [index for index in range(len(_SIGNS)) if any(row and row[index][0] for row in signs)]
    columns = [*_COLUMNS[:-1], *(_SIGNS[index] for index in shown), _COLUMNS[-1]]
    wider = [
        [*row[:-1], *(sign[index] for index in shown), row[-1]] if sign else row
        for row, sign in zip(rows, signs, strict=True)
    ]
    return columns, wider


def _signs(path: str, record: CheckpointRecord | None) -> list[Cell]:
    if record is None:
        return []
    marks = as_text.marks(record, pinned=is_pinned(path))
    return [as_text.nonfinite(record), marks, as_text.resumed(record)]


def _why(listed: Listed) -> str:
    if isinstance(listed.problem, CheckpointDamagedError):
        return f"damaged: {as_text.reason(listed.problem)}"
    if isinstance(listed.problem, CheckpointUnreadableError):
        return f"unreadable: {as_text.reason(listed.problem)}"
    return as_text.reason(listed.problem) if listed.problem else "unreadable"


def _summary(found: Sequence[Listed]) -> list[Cell]:
    sharing = Sharing(listed.path for listed in found)
    used, copies = sharing.of().size, sharing.copies
    newer = sum(isinstance(listed.problem, FormatVersionError) for listed in found)
    unreadable = sum(isinstance(listed.problem, CheckpointUnreadableError) for listed in found)
    damaged = sum(listed.record is None for listed in found) - newer - unreadable
    folders = sum(not listed.path.endswith(SUFFIX) for listed in found if listed.record is None)
    cells: list[Cell] = [(as_text.count(len(found) - folders, "checkpoint"), "bold")]
    if damaged:
        cells += [(", ", ""), (f"{damaged:,} damaged", "red")]
    if unreadable:
        cells += [(", ", ""), (f"{unreadable:,} unreadable", "red")]
    if newer:
        cells += [(", ", ""), (f"{newer:,} in a newer format", "red")]
    cells.append((f" · {as_text.size(used)} on disk", ""))
    if used < copies:
        saved = f"{1 - used / copies:.0%} saved"
        cells.append((f"; complete copies would take {as_text.size(copies)} ({saved})", ""))
    return cells


def _cadence(found: Sequence[Listed]) -> list[list[Cell]]:
    """How often the newest checkpoint's run saves, and why."""
    newest = next((listed.record for listed in reversed(found) if listed.record), None)
    text = newest.details.get("cadence") if newest else None
    return [[(f"saving {as_text.printable(text)}", "")]] if isinstance(text, str) else []


def _as_json(listed: Listed) -> dict[str, object]:
    problem = str(listed.problem) if listed.problem else None
    fields: dict[str, object] = {"path": listed.path, "problem": problem}
    if listed.record is None:
        return fields
    return {**fields, "pinned": is_pinned(listed.path), **as_json.of_record(listed.record)}
