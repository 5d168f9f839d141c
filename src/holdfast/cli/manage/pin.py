"""`holdfast pin` and `holdfast unpin`: no policy and no save of its name removes a pinned checkpoint."""

from __future__ import annotations

import typer

from ... import bundle
from ...checkpoint import locate
from ...storage import LocalDisk
from .._options import Bundles, JsonLines
from .._output import as_text
from .._output.console import Console


def register(app: typer.Typer) -> None:
    app.command("pin")(pin)
    app.command("unpin")(unpin)


def pin(bundles: Bundles, json: JsonLines = False) -> None:
    """Pin checkpoints: no policy, `prune` or `rm` removes them, and a save of their name does not replace them."""
    for path in [locate(place).path for place in bundles]:
        _say(path, bundle.pin(LocalDisk(), path), pinned=True, json=json)


def unpin(bundles: Bundles, json: JsonLines = False) -> None:
    """Unpin checkpoints."""
    for path in [locate(place).path for place in bundles]:
        _say(path, bundle.unpin(LocalDisk(), path), pinned=False, json=json)


def _say(path: str, changed: bool, *, pinned: bool, json: bool) -> None:
    if json:
        Console().json([{"path": path, "pinned": pinned, "changed": changed}])
        return
    if pinned:
        state = "is now pinned" if changed else "is pinned already"
    else:
        state = "is no longer pinned" if changed else "was not pinned"
    Console().say(f"{as_text.printable(path)} {state}")
