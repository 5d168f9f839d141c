"""`holdfast rm`: deletes checkpoints, damaged ones too, and says how much space that freed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ...bundle import Listed
from ...checkpoint import removable, remove
from ...errors import UsageError
from ...storage import real_path
from .._options import Bundles, JsonLines
from .._output import as_text
from .._output.console import Cell, Console
from .._output.disk import Sharing, Watched


def rm(
    bundles: Bundles,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: JsonLines = False,
) -> None:
    """Delete checkpoints. Files shared with other checkpoints stay; a checkpoint that changed in the meantime is kept."""
    listed = [removable(place) for place in bundles]  # refuses before anything is deleted
    doomed = list({real_path(each.path): each for each in listed}.values())
    if not yes and not _agreed(doomed):
        Console(stderr=True).say("Nothing was deleted.")
        return
    console = Console()
    for listed in doomed:
        files = Watched(listed.path)
        try:
            remove(listed)
        finally:
            freed, kept = files.release()
        if json:
            fields = {"path": listed.path, "freed_bytes": freed, "kept_bytes": kept}
            console.json([fields])
            continue
        name = as_text.printable(listed.path)
        cells: list[Cell] = [(f"deleted {name}: {as_text.size(freed)} freed", "")]
        if kept:
            cells.append((f", {as_text.size(kept)} still in use by others", "dim"))
        console.lines([cells])


def _agreed(doomed: list[Listed]) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("cannot ask for confirmation without a terminal: pass --yes to delete.")
    console = Console(stderr=True)
    for listed in doomed:
        about = as_text.where(listed.record.moment) if listed.record else "damaged"
        console.lines([[("  " + as_text.printable(listed.path), "bold"), (f"  {about}", "")]])
    frees = as_text.size(Sharing(listed.path for listed in doomed).of().frees)
    question = f"Delete {as_text.count(len(doomed), 'checkpoint')}, which frees {frees}? [y/N] "
    console.print(question, end="", soft_wrap=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
