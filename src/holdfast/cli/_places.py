"""What a path on the command line means: a checkpoint, or a directory with checkpoints below it."""

from __future__ import annotations

import os

from .. import bundle
from ..checkpoint import find, scan


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


def name_in(directory: str, path: str) -> str:
    """The name of a listed checkpoint below `directory`: its path there, without `.ckpt.mml`."""
    return path.removeprefix(directory.rstrip("/") + "/").removesuffix(bundle.SUFFIX)
