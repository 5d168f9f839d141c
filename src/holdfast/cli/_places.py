"""What a path on the command line means: a checkpoint, or a directory with checkpoints below it."""

from __future__ import annotations

import os

from .. import bundle
from ..checkpoint import scan
from ..errors import CheckpointNotFoundError
from ..storage import LocalDisk


def find_all(place: str) -> list[bundle.Listed]:
    """The checkpoint at `place`, or all below that directory, oldest first.

    Raises:
        CheckpointNotFoundError: there is no such place.
    """
    found = _look(place)
    if found:
        return [found]
    if os.path.isdir(place):
        return scan(place)
    return [find_one(place)]


def find_one(place: str) -> bundle.Listed:
    """The checkpoint at `place`, whose `.ckpt.mml` may be left out.

    Raises:
        CheckpointNotFoundError: there is none.
    """
    for path in (place, place.rstrip("/") + bundle.SUFFIX):
        found = _look(path)
        if found:
            return found
    if os.path.isdir(place):
        raise CheckpointNotFoundError(place, "this is no checkpoint")
    if os.path.lexists(place):
        raise CheckpointNotFoundError(place, "this is no directory")
    raise CheckpointNotFoundError(place, "there is no such directory")


def _look(place: str) -> bundle.Listed | None:
    path = place.rstrip("/") or "/"
    listed = bundle.look(LocalDisk(), path) if os.path.isdir(path) else None
    # A copy under another name is a checkpoint by its record; a damaged one has only its name to say so.
    name = os.path.basename(os.path.realpath(path))
    if listed and (listed.record or name.endswith(bundle.SUFFIX) or f"{bundle.SUFFIX}.damaged-" in name):
        return listed
    return None


def name_in(directory: str, path: str) -> str:
    """How a listed checkpoint is called below `directory`: its path there, without `.ckpt.mml`."""
    return path.removeprefix(directory.rstrip("/") + "/").removesuffix(bundle.SUFFIX)
