"""`holdfast average`: a new checkpoint with the average weights of others."""

from __future__ import annotations

from typing import Annotated

import typer

from ...compare import average as make_average
from ...errors import UsageError
from .._options import Json, Only, Overwrite
from .._output import as_json, as_text
from .._output.console import Console


def average(
    bundles: Annotated[list[str], typer.Argument(metavar="BUNDLE...", help="Two or more checkpoints.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="The new checkpoint.")],
    weights: Annotated[
        str | None,
        typer.Option(metavar="W,W,…", help="One weight per checkpoint; default: equal weights."),
    ] = None,
    only: Only = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Average the weights of checkpoints into a new one, streamed; everything else comes from the newest."""
    made = make_average(bundles, out, weights=_numbers(weights), only=only, overwrite=overwrite)
    if json:
        fields = {"path": made.path, "arrays": made.paths, "rest_from": made.rest_from}
        Console().json([{**fields, "record": as_json.of_record(made.record)}])
        return
    arrays, checkpoints = as_text.count(len(made.paths), "array"), as_text.count(len(bundles), "checkpoint")
    console = Console()
    console.say(
        f"averaged {arrays} of {checkpoints}; everything else comes from {as_text.printable(made.rest_from)}"
    )
    console.say(f"wrote {as_text.printable(made.path)}: {as_text.size(made.record.size_bytes)}", "bold")


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights {text!r}: pass numbers separated by commas, such as 1,1,2.") from None
