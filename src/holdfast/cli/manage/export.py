"""`holdfast export`: the arrays of a checkpoint as `.safetensors`, `.npz`, `.pt` or `.orbax`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ...exchange import export as write
from ...policy import num_bytes
from .._options import Bundle, Json, Only, Overwrite
from .._output import as_text
from .._output.console import Console


def export(
    bundle: Bundle,
    out: Annotated[str, typer.Argument(metavar="OUT", help="….safetensors, ….npz, ….pt, ….pth or ….orbax.")],
    prefix: Annotated[
        str,
        typer.Option(metavar="PATH", help="Only what is below this path; names are relative to it."),
    ] = "",
    only: Only = None,
    names: Annotated[str, typer.Option(metavar="dots|slashes", help="The separator in names.")] = "dots",
    shard_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Write .safetensors in shards of this size, such as 5GB."),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the arrays of a checkpoint to a plain file. To restore into live objects, use Python: checkpoint.restore()."""
    done = write(
        *(bundle, out),
        prefix=prefix,
        only=only,
        names=names,  # type: ignore[arg-type]  # checked there
        shard_bytes=None if shard_size is None else num_bytes("--shard-size", shard_size),
        overwrite=overwrite,
    )
    console = Console()
    if json:
        fields = {"files": done.files, "arrays": done.arrays, "tied": done.tied, "left_out": done.left_out}
        console.json([fields])
        return
    for file in done.files:
        console.say(f"wrote {as_text.printable(file)}: {as_text.size(os.path.getsize(file))}")
    for name, kept in done.tied.items():
        console.say(
            f"{as_text.printable(name)} is the same array as {as_text.printable(kept)}, which is written once",
            "dim",
        )
    left_out = f"; left out: {as_text.count(done.left_out, 'other value')}" if done.left_out else ""
    console.say(f"{as_text.count(len(done.arrays), 'array')}{left_out}", "bold")
