"""`holdfast fork BUNDLE NEWDIR`: starts a new run from an old checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from ...checkpoint import fork as fork_checkpoint
from .._options import Bundle, Json
from .._output import as_json, as_text
from .._output.console import Console


def fork(
    bundle: Bundle,
    directory: Annotated[str, typer.Argument(metavar="NEWDIR", help="The directory of the new run.")],
    json: Json = False,
) -> None:
    """Start a new run in NEWDIR from this checkpoint, sharing its files; a script that resumes there continues from it."""
    listed = fork_checkpoint(bundle, directory)
    assert listed.record is not None
    if json:
        Console().json([{"path": listed.path, "record": as_json.of_record(listed.record)}])
        return
    record = listed.record
    cost = f"{as_text.size(record.bytes_written)} written, {as_text.size(record.bytes_shared)} shared"
    Console().say(
        f"{as_text.printable(listed.path)}: run {record.run[:8]} begins at {as_text.where(record.moment)}; {cost}"
    )
