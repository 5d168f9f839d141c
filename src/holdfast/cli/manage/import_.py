"""`holdfast import`: a file or directory of another format becomes a checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from ...bundle import SUFFIX
from ...exchange import import_checkpoint
from .._options import Json, Overwrite
from .._output import as_json, as_text
from .._output.console import Console


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="….safetensors, ….npz, ….npy, ….pt, ….ckpt; a directory of weights, DCP or Orbax.",
        ),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The new checkpoint, ….ckpt.mml.")],
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Read a DCP directory, although its metadata can run code.")
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a checkpoint from a file or directory of another format, without running code from it."""
    record = import_checkpoint(source, out, trusted=trusted, overwrite=overwrite)
    place = out.rstrip("/").removesuffix(SUFFIX) + SUFFIX
    if json:
        Console().json([{"path": place, "record": as_json.of_record(record)}])
        return
    captured = as_text.size(record.bytes_captured)
    Console().say(
        f"wrote {as_text.printable(place)}: {captured} of arrays from {as_text.printable(source)}", "bold"
    )
