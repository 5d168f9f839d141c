"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Bundle = Annotated[str, typer.Argument(metavar="BUNDLE", help="A checkpoint; .ckpt.mml may be left out.")]
Bundles = Annotated[list[str], typer.Argument(metavar="BUNDLE...", help="`.ckpt.mml` may be left out.")]
Directory = Annotated[str, typer.Argument(metavar="DIR", help="A directory, searched recursively.")]
KeptIn = Annotated[
    str | None, typer.Option(metavar="DIR", help="Keep all checkpoints in this new directory.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Only = Annotated[str | None, typer.Option(metavar="GLOB", help="Only the arrays whose paths match.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what has this name.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the random choices; default: random.")]
