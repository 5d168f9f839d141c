"""Whether a run is active in a directory, seen from outside."""

from __future__ import annotations

import os
from contextlib import suppress

from ..bundle import unreadable
from ..errors import TooManyOpenFilesError
from ..storage import LocalDisk, Storage

LOCK = ".run.lock"
"""The file in an experiment's directory that a live run keeps locked."""


def has_been_held(disk: Storage, folder: str) -> bool:
    """Whether a run has ever used this folder as its experiment's directory.

    Raises:
        TooManyOpenFilesError: this process can open no more files.
    """
    try:
        with disk.open_directory(folder) as here:
            here.status(LOCK)
    except OSError as err:
        if isinstance(refused := unreadable(folder, "it cannot be opened", err), TooManyOpenFilesError):
            raise refused from err
        return False  # whoever enters it is told of what cannot be read there
    return True


_LEVELS = 16  # of folders, of nested groups too: as deep as checkpoints are looked for


def run_at(bundle_path: str, disk: Storage | None = None) -> tuple[str, bool | None]:
    """The experiment directory of a bundle, and whether a live process runs there; None if that cannot be known.

    It is the nearest above the bundle that a run has ever held; without a trace of a run, the bundle's own folder.
    """
    disk = disk or LocalDisk()
    folder = os.path.dirname(bundle_path) or "."
    for level in range(_LEVELS):
        place = os.path.join(folder, *[".."] * level)
        with suppress(OSError), disk.open_directory(place) as here:
            here.status(LOCK)
            try:
                return os.path.normpath(place), here.is_held(LOCK)
            except OSError:  # not ours to open
                return os.path.normpath(place), None
    return os.path.normpath(folder), None
