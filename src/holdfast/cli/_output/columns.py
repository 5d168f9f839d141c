"""Text in aligned columns that fits a terminal, fast enough for ten thousand rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from .console import Cell

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """How a column looks, and how it shrinks when the terminal is narrow.

    `floor`: it may be cut to this many cells, from the left if `keep_end`; None: never.
    `expendable`: the greatest is cut first, and left out when cutting is not enough; 0: never left out.
    """

    title: str
    right: bool = False
    floor: int | None = None
    keep_end: bool = False
    expendable: int = 0


Row = Sequence[Cell]
"""A cell per column; in a shorter row the last cell may extend to the end of the line."""


def layout(
    columns: Sequence[Column], rows: Sequence[Row], limit: int | None, *, header: bool = True
) -> tuple[list[list[Cell]], list[str]]:
    """The lines of a table, header first, and the titles of the hidden columns.

    `limit` is the number of cells in a line; None: nothing is cut or left out.
    """
    widths = [cell_len(column.title) if header else 0 for column in columns]
    for row in rows:
        for index, (text, _) in enumerate(row if len(row) == len(columns) else row[:-1]):
            width = len(text) if text.isascii() else cell_len(text)
            if width > widths[index]:
                widths[index] = width
    kept = list(range(len(columns)))
    if limit is not None:
        widths, kept = fit(columns, widths, limit)
    titles = [[(column.title, "dim") for column in columns]] if header else []
    lines = [list(_cells(columns, row, widths, kept)) for row in (*titles, *rows)]
    return lines, [column.title for index, column in enumerate(columns) if index not in kept]


def fit(columns: Sequence[Column], widths: Sequence[int], limit: int) -> tuple[list[int], list[int]]:
    """The widths that fit into `limit`, and which columns are kept."""
    kept = [index for index, width in enumerate(widths) if width]
    while True:
        floors = {index: min(widths[index], columns[index].floor or widths[index]) for index in kept}
        gaps = _GAP * (len(kept) - 1)
        expendable = [index for index in kept if columns[index].expendable]
        if sum(floors.values()) + gaps <= limit or not expendable:
            break
        kept.remove(max(expendable, key=lambda index: columns[index].expendable))
    fitted = {index: widths[index] for index in kept}
    while sum(fitted.values()) + gaps > limit:
        cuttable = [index for index in kept if fitted[index] > floors[index]]
        if not cuttable:
            break  # narrower than all floors: the lines run over
        fitted[max(cuttable, key=lambda index: (columns[index].expendable, fitted[index]))] -= 1
    return [fitted.get(index, 0) for index in range(len(columns))], kept


def _cells(columns: Sequence[Column], row: Row, widths: Sequence[int], kept: Sequence[int]) -> Iterator[Cell]:
    runs_on = len(row) < len(columns)
    last = max((index for index in kept if index < len(row) and row[index][0]), default=0)
    for index in kept:
        if runs_on and index >= len(row) - 1:
            yield row[-1]
            return
        text, style = row[index]
        text = _sized(columns[index], text, widths[index])
        if index == last and not runs_on:
            yield text.rstrip(), style
            return
        yield text + " " * _GAP, style


def _sized(column: Column, text: str, width: int) -> str:
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        return _cut_start(text, width) if column.keep_end else set_cell_size(text, width - 1) + "…"
    padding = " " * (width - length)
    return padding + text if column.right else text + padding


def _cut_start(text: str, width: int) -> str:
    while cell_len(text) > width - 1:
        text = text[1:]
    return "…" + text + " " * (width - 1 - cell_len(text))
