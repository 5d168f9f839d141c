"""The folders above a bundle."""

from __future__ import annotations

import contextlib

from ..storage import Storage


def make_directories(disk: Storage, path: str) -> list[str]:
    """Create `path` and its missing parents; returns the parents whose entries are not yet durable."""
    missing = []
    while True:
        try:
            disk.mkdir(path)
        except FileExistsError:
            break
        except FileNotFoundError:
            missing.append(path)
            if parent(path) == path:
                raise  # the working directory itself is gone
            path = parent(path)
        else:
            missing.append(path)
            break
    parents = [parent(each) for each in reversed(missing)]
    for each in reversed(missing[:-1]):
        with contextlib.suppress(FileExistsError):
            disk.mkdir(each)
    return parents


def parent(path: str) -> str:
    above, _, _ = path.rstrip("/").rpartition("/")
    return above or ("/" if path.startswith("/") else ".")
