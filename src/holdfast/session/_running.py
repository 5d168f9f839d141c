"""Whether somebody runs an experiment in a directory, asked from outside."""

from __future__ import annotations

import os
from contextlib import suppress

from ..storage import LocalDisk, Storage

LOCK = ".run.lock"
"""The file in an experiment's directory that a live run keeps locked."""


def run_at(bundle_path: str, disk: Storage | None = None) -> tuple[str, bool | None]:
    """The experiment directory of a bundle, and whether a live process runs there; None if that cannot be known.

    A bundle is in the experiment's directory or in one of its folders; without a trace of a run it is in its own.
    """
    disk = disk or LocalDisk()
    folder = os.path.dirname(bundle_path) or "."
    for place in (folder, os.path.join(folder, "..")):
        with suppress(OSError), disk.open_directory(place) as here:
            here.status(LOCK)
            try:
                return os.path.normpath(place), here.is_held(LOCK)
            except OSError:  # not ours to open
                return os.path.normpath(place), None
    return os.path.normpath(folder), None
