"""Where the runs of a script save: a directory that is removed at the end, or a new one of the user's."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from ...bundle import make_directories
from ...errors import UsageError
from ...storage import LocalDisk, absolute, real_path


@contextlib.contextmanager
def scratch(name: str, directory: str | None) -> Iterator[str]:
    """The absolute path of a temporary directory, removed at the end, or of `directory`, which stays.

    Raises:
        UsageError: `directory` is not empty.
    """
    if directory is not None:
        yield _made(directory)
        return
    place = real_path(tempfile.mkdtemp(prefix=f"holdfast-{name}-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _made(directory: str) -> str:
    place = absolute(directory)
    if os.path.isdir(place) and os.listdir(place):
        raise UsageError(f"{directory} is not empty: pass a new directory.")
    make_directories(LocalDisk(), place)
    return place
