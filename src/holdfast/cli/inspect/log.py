"""`holdfast log DIR…`: where checkpoints come from, as a tree of runs, forks, and abandoned lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from ...checkpoint import Kin, lineage
from .._options import JsonLines
from .._output import as_text
from .._output.console import Cell, Console
from .._output.disk import is_pinned
from .._places import find_all, name_in


def log(
    directories: Annotated[
        list[str] | None, typer.Argument(metavar="DIR...", help="Directories, searched recursively.")
    ] = None,
    json: JsonLines = False,
) -> None:
    """Draw where checkpoints come from: runs, the lines they abandoned in a rollback, and forks, oldest first."""
    places = directories or ["."]
    found = {listed.path: (place, listed) for place in places for listed in find_all(place)}
    roots = lineage(listed for _, listed in found.values())
    console = Console()
    if json:
        console.json(_as_json(kin) for kin in _all(roots))
        return
    if not roots:
        Console(stderr=True).say("No checkpoints found.")
        return
    home = {path: place for path, (place, _) in found.items()}
    for index, root in enumerate(roots):
        console.lines([*([[]] if index else []), [(_run(root, home), "bold")], *_line(root, home, "")])


def _line(kin: Kin | None, home: dict[str, str], indent: str) -> Iterator[list[Cell]]:
    """A run from `kin` on; after each of its checkpoints, what else descends from it."""
    while kin is not None:
        record = kin.record
        name = as_text.printable(name_in(home[kin.listed.path], kin.listed.path))
        about = f"  {as_text.where(record.moment)} · step {record.moment.step}"
        marks, style = as_text.marks(record, pinned=is_pinned(kin.listed.path))
        yield [(f"{indent}● ", "dim"), (name, "bold"), (about, ""), (f" · {marks}" if marks else "", style)]
        for child in kin.children:
            if child.relation != "next":
                what = "left" if child.relation == "left" else f"{child.relation}: {_run(child, home)}"
                yield [(f"{indent}├─ {what}", "yellow" if child.relation == "left" else "green")]
                yield from _line(child, home, f"{indent}│  ")
        kin = kin.next


def _run(kin: Kin, home: dict[str, str]) -> str:
    return f"run {as_text.printable(kin.record.run[:8])} in {as_text.printable(home[kin.listed.path])}"


def _all(roots: list[Kin]) -> Iterator[Kin]:
    waiting = roots[::-1]
    while waiting:
        kin = waiting.pop()
        yield kin
        waiting += kin.children[::-1]


def _as_json(kin: Kin) -> dict[str, object]:
    record = kin.record
    parent = None if kin.parent is None else kin.parent.listed.path
    facts = {name: getattr(record, name) for name in ("id", "name", "run", "seq", "created", "parent")}
    about = {"path": kin.listed.path, "relation": kin.relation, "parent_path": parent}
    signs = {"pinned": is_pinned(kin.listed.path), "thinned": bool(record.details.get("thinned"))}
    origin = record.details.get("forked_from")
    return {**about, **facts, "step": record.moment.step, "forked_from": origin, **signs}
