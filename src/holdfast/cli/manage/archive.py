"""`holdfast archive`: a complete copy of a checkpoint, to keep or to send, optionally compressed."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ...checkpoint import archive as write_archive
from .._options import Bundle, Json, Overwrite
from .._output import as_text
from .._output.console import Console


def archive(
    bundle: Bundle,
    to: Annotated[str, typer.Argument(metavar="TO", help="The copy's path, or a folder to put it in.")],
    compress: Annotated[
        bool, typer.Option("--compress", "-z", help="Compress arrays that shrink (needs zstandard).")
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Copy a checkpoint, checking every byte: complete, shared with nothing, durable when this returns."""
    began_s = time.perf_counter()
    listed = write_archive(bundle, to, compress=compress, overwrite=overwrite)
    assert listed.record is not None
    if json:
        sizes = {"size_bytes": listed.record.size_bytes, "array_bytes": listed.record.bytes_captured}
        Console().json([{"path": listed.path, "id": listed.record.id} | sizes])
        return
    size, captured = as_text.size(listed.record.size_bytes), as_text.size(listed.record.bytes_captured)
    took = f"{time.perf_counter() - began_s:.1f} s"
    Console().lines([[(f"{as_text.printable(listed.path)}: {size} for {captured} of arrays, in {took}", "")]])
