"""`holdfast fork BUNDLE NEWDIR`: begins a new run with an old checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from ..session import fork as fork_checkpoint
from . import _json, _text
from ._console import Console


def register(app: typer.Typer) -> None:
    app.command("fork")(fork)


def fork(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A checkpoint; .ckpt.mml may be left out.")],
    directory: Annotated[str, typer.Argument(metavar="NEWDIR", help="Where the new run is to save.")],
    json: Annotated[bool, typer.Option("--json", help="What was made, as one JSON object.")] = False,
) -> None:
    """Begin a new run in NEWDIR with this checkpoint, sharing its files; a script that resumes there goes on from it."""
    listed = fork_checkpoint(bundle, directory)
    assert listed.record is not None
    if json:
        Console().plain_lines([_json.dumps({"path": listed.path, "record": _json.of_record(listed.record)})])
        return
    record = listed.record
    cost = f"{_text.size(record.bytes_written)} written, {_text.size(record.bytes_shared)} shared"
    Console().say(
        f"{_text.printable(listed.path)}: run {record.run[:8]} begins at {_text.where(record.moment)}; {cost}"
    )
