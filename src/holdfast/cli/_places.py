"""What a path on the command line means: a checkpoint, or a directory with checkpoints below it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .. import bundle
from ..checkpoint import find, scan
from ..errors import CheckpointUnreadableError
from ._output import as_text
from ._output.console import Console


def find_all(place: str, *, namesake: bool = False) -> list[bundle.Listed]:
    """All checkpoints below the directory `place`, oldest first; or the checkpoint at this path.

    A phase saves `pretrain.ckpt.mml` beside its folder `pretrain/`: with `namesake` this name means both.

    Raises:
        CheckpointNotFoundError: there is neither.
        UsageError: there are several checkpoints of this name.
    """
    found = find(place)
    if found is None:
        return scan(place)
    if not os.path.isdir(place) or os.path.samefile(place, found.path):
        return [found]
    return [*scan(place), *([found] if namesake else [])]


def readable(found: Sequence[bundle.Listed]) -> list[bundle.Listed]:
    """Those that the system lets us see; the others are named on standard error, since they are missing from what is said."""
    refused = [each for each in found if isinstance(each.problem, CheckpointUnreadableError)]
    for each in refused:
        Console(stderr=True).say(f"holdfast: left out {as_text.printable(str(each.problem))}", "red")
    return [each for each in found if each not in refused]


def name_in(directory: str, path: str) -> str:
    """The name of a listed checkpoint below `directory`: its path there, without `.ckpt.mml`."""
    return path.removeprefix(directory.rstrip("/") + "/").removesuffix(bundle.SUFFIX)
