"""`holdfast diff`: what differs between two checkpoints, arrays by how much they changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from ...compare import ABSENT, ArrayChange, Diff, Entry, ValueChange
from ...compare import diff as compare
from .._options import Json
from .._output import as_json, as_text
from .._output.columns import Column, Row, layout
from .._output.console import Cell, Console
from .._output.state import node_text

_SHOWN = 16
_ARRAYS = (
    Column("array", floor=24, keep_end=True),
    Column("type", expendable=2),
    Column("shape", right=True, expendable=1),
    Column("relative", right=True),
    Column("largest", right=True),
    Column("changed", right=True),
    Column("nan, inf", right=True),
)
_VALUES = (Column("what", floor=24, keep_end=True), Column("old → new"))


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A checkpoint; .ckpt.mml may be left out.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, usually a later one.")],
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show every array, unchanged ones too, and complete lists.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what differs from checkpoint A to checkpoint B: facts, structure, values, and how much arrays changed."""
    found, console = compare(a, b), Console()
    if json:
        console.json([_as_json(found)])
        return
    limit = None if everything else _SHOWN
    console.lines(_lines(found, limit, console.limit))


def _lines(found: Diff, limit: int | None, width: int | None) -> Iterator[Sequence[Cell]]:
    yield [("from  ", "dim"), (as_text.printable(found.a), "bold")]
    yield [("to    ", "dim"), (as_text.printable(found.b), "bold")]
    yield from _section("", list(map(_value_row, found.facts)), limit, width)
    arrays = found.arrays if limit is None else found.changed
    yield []
    yield [(_summary(found), "bold")]
    if arrays:
        shown = arrays if limit is None else arrays[:limit]
        yield []
        yield from layout(_ARRAYS, list(map(_array_row, shown)), width)[0]
        yield from _more(len(arrays) - len(shown))
    yield from _section("values that differ", list(map(_value_row, found.values)), limit, width)
    yield from _section(f"only in {found.a}", list(map(_entry_row, found.only_in_a)), limit, width)
    yield from _section(f"only in {found.b}", list(map(_entry_row, found.only_in_b)), limit, width)


def _section(title: str, rows: list[Row], limit: int | None, width: int | None) -> Iterator[Sequence[Cell]]:
    if not rows:
        return
    yield []
    if title:
        yield [(as_text.printable(title), "bold")]
    shown = rows if limit is None else rows[:limit]
    yield from layout(_VALUES, shown, width, header=False)[0]
    yield from _more(len(rows) - len(shown))


def _more(number: int) -> Iterator[Sequence[Cell]]:
    if number:
        yield [(f"  … {number:,} more (--all shows them)", "dim")]


def _summary(found: Diff) -> str:
    if found.same_state:
        arrays = as_text.count(len(found.arrays), "array")
        if not found.ignored:
            return f"The states are identical, bit for bit ({arrays})."
        return f"The states are the same, bit for bit ({arrays}), but for ids and times of the runs."
    same = len(found.arrays) - len(found.changed)
    return f"arrays: {len(found.changed):,} changed, {same:,} unchanged"


def _array_row(change: ArrayChange) -> Row:
    old, new = change.dtypes
    dtype = old if old == new else f"{old} → {new}"
    shapes = [" × ".join(map(str, shape)) or "scalar" for shape in change.shapes]
    shape = shapes[0] if shapes[0] == shapes[1] else " → ".join(shapes)
    return [
        ("  " + as_text.printable(change.path), "dim" if change.is_same else ""),
        (as_text.printable(dtype), "" if old == new else "yellow"),
        (shape, "" if shapes[0] == shapes[1] else "yellow"),
        ("same", "dim") if change.is_same else (_number(change.relative), ""),
        ("" if change.is_same else _number(change.largest), ""),
        ("" if change.is_same or change.share is None else _percent(change), ""),
        (_nonfinite(change), "red"),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _percent(change: ArrayChange) -> str:
    share = change.share or 0.0
    # 100 % and 0 % are shown only for all and none.
    return f"{share:.0%}" if share in (0.0, 1.0) else f"{min(max(share, 0.0001), 0.9999):.2%}"


def _nonfinite(change: ArrayChange) -> str:
    if change.nans is None or change.infs is None or not any((*change.nans, *change.infs)):
        return ""
    counts = zip(("nan", "inf"), (change.nans, change.infs), strict=True)
    return ", ".join(f"{old:,} → {new:,} {name}" for name, (old, new) in counts if old or new)


def _value_row(change: ValueChange) -> Row:
    sides = (change.old, change.new)
    old, new = ("absent" if side is ABSENT else as_text.printable(node_text(side)) for side in sides)
    with contextlib.suppress(TypeError):
        if type(change.old) is type(change.new) is float and change.old:
            new += f"  ({(change.new - change.old) / abs(change.old):+.2%})"
    return [("  " + as_text.printable(change.path), ""), (f"{old} → {new}", "cyan")]


def _entry_row(entry: Entry) -> Row:
    return [("  " + as_text.printable(entry.path or "the state itself"), ""), (node_text(entry.node), "cyan")]


def _as_json(found: Diff) -> dict[str, object]:
    return {
        "a": found.a,
        "b": found.b,
        "same_state": found.same_state,
        "ignored": list(found.ignored),
        "facts": list(map(_value_json, found.facts)),
        "arrays": list(map(_array_json, found.arrays)),
        "values": list(map(_value_json, found.values)),
        "only_in_a": [{"path": entry.path, "value": as_json.plain(entry.node)} for entry in found.only_in_a],
        "only_in_b": [{"path": entry.path, "value": as_json.plain(entry.node)} for entry in found.only_in_b],
    }


def _value_json(change: ValueChange) -> dict[str, object]:
    fields: dict[str, object] = {"path": change.path}
    for name, value in (("old", change.old), ("new", change.new)):
        if value is not ABSENT:
            fields[name] = as_json.plain(value)
    return fields


def _array_json(change: ArrayChange) -> dict[str, object]:
    return {
        "path": change.path,
        "same": change.is_same,
        "dtypes": change.dtypes,
        "shapes": change.shapes,
        "size": change.size,
        "changed": change.changed,
        "relative": as_json.number(change.relative),
        "largest": as_json.number(change.largest),
        "nans": change.nans,
        "infs": change.infs,
        "read": change.is_read,
    }
