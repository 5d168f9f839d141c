"""A directory for a replay, with hard links to one checkpoint in it: no byte of it is copied, and none can be changed.

Holdfast never writes into a file that exists; so linked files stay as they are, whatever is done in the scratch directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .. import bundle
from ..checkpoint import write_archive
from ..storage import Storage


@contextlib.contextmanager
def scratch(disk: Storage, beside: str, opened: bundle.Bundle, inside: str) -> Iterator[str]:
    """A new directory beside `beside` with the opened bundle at the path `inside`; removed afterwards.

    Where files cannot be linked, the bundle is copied.
    """
    above, _, name = beside.rstrip("/").rpartition("/")
    place = f"{above or '/'}/.{name}.replay-{bundle.new_id()[:8]}"
    disk.mkdir(place)
    try:
        folder, _, last = f"{place}/{inside}".rpartition("/")
        bundle.make_directories(disk, folder)
        try:
            _link(disk, opened, f"{folder}/{last}")
        except OSError:
            _remove(disk, f"{folder}/{last}")
            write_archive(opened, disk, f"{folder}/{last}", compress=False, overwrite=False)
        yield place
    finally:
        _remove(disk, place)


def _link(disk: Storage, opened: bundle.Bundle, place: str) -> None:
    disk.mkdir(place)
    with disk.open_directory(place) as inside:
        for name in (*opened.file_names, bundle.RECORD):
            inside.link(os.path.join(opened.path, name), name)


def _remove(disk: Storage, place: str) -> None:
    """Remove a directory with all its content; linked files only lose this name."""
    with contextlib.suppress(FileNotFoundError):
        folders = disk.folders(place)
        for name in folders:
            _remove(disk, f"{place}/{name}")
        with disk.open_directory(place) as inside:
            for name in inside.names():
                if name not in folders:
                    inside.unlink(name)
        disk.rmdir(place)
