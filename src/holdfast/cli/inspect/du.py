"""`holdfast du`: what checkpoints really take on the disk, counting shared files once."""

from __future__ import annotations

import os
from dataclasses import asdict

from .._options import Directory, Json
from .._output import as_text
from .._output.columns import Column, Row, layout
from .._output.console import Cell, Console
from .._output.disk import Share, Sharing
from .._places import find_all, name_in, readable

_COLUMNS = (
    Column("name", floor=24, keep_end=True),
    Column("size", right=True),
    Column("unique", right=True),
    Column("shared", right=True),
    Column("frees", right=True),
)


def du(
    directory: Directory = ".",
    json: Json = False,
) -> None:
    """Show what checkpoints take on the disk, by folder: alone, shared, and what deleting them would free."""
    paths, console = [listed.path for listed in readable(find_all(directory))], Console()
    sharing = Sharing(paths)
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(os.path.dirname(path), []).append(path)
    if json:
        console.json([_as_json(directory, sharing, paths, folders)])
        return
    if not paths:
        Console(stderr=True).say(f"There are no checkpoints in {as_text.printable(directory)}.")
        return
    rows: list[Row] = []
    for folder, inside in folders.items():
        about = f"  {as_text.count(len(inside), 'checkpoint')}"
        rows.append(_row(f"{name_in(directory, folder) or '.'}/{about}", sharing.of(inside), "bold"))
        rows += [
            _row("  " + os.path.basename(name_in(directory, each)), sharing.of([each])) for each in inside
        ]
    console.lines([*layout(_COLUMNS, rows, console.limit)[0], [], *_summary(sharing, paths)])


def _row(name: str, share: Share, style: str = "") -> Row:
    sizes: list[Cell] = [
        (as_text.size(number), style) for number in (share.size, share.unique, share.shared, share.frees)
    ]
    return [(as_text.printable(name), style), *sizes]


def _summary(sharing: Sharing, paths: list[str]) -> list[list[Cell]]:
    total = sharing.of()
    text = f"{as_text.count(len(paths), 'checkpoint')} · {as_text.size(total.size)} in files"
    text += f", {as_text.size(sharing.allocated)} of disk blocks"
    if total.size < sharing.copies:
        text += f"; complete copies would take {as_text.size(sharing.copies)}"
    elsewhere = as_text.size(total.size - total.frees)
    more = f"{elsewhere} are also linked from elsewhere, and would remain if all of these were deleted."
    return [[(text, "bold")], *([[(more, "")]] if total.frees < total.size else [])]


def _as_json(
    directory: str, sharing: Sharing, paths: list[str], folders: dict[str, list[str]]
) -> dict[str, object]:
    return {
        "path": directory,
        **_fields(sharing.of()),
        "allocated_bytes": sharing.allocated,
        "copies_bytes": sharing.copies,
        "folders": [
            {"path": folder, "checkpoints": len(inside), **_fields(sharing.of(inside))}
            for folder, inside in folders.items()
        ],
        "checkpoints": [{"path": path, **_fields(sharing.of([path]))} for path in paths],
    }


def _fields(share: Share) -> dict[str, object]:
    return {f"{name}_bytes": size for name, size in asdict(share).items()}
