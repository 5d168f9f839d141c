"""Copies of checkpoints for keeping or sending: complete, shared with nothing, compressed if asked for."""

from __future__ import annotations

import os

from .. import bundle
from ..checkpointing import check_name
from ..errors import UsageError
from ..storage import Storage


def write_archive(
    opened: bundle.Bundle,
    disk: Storage,
    to: str | os.PathLike[str],
    *,
    compress: bool,
    overwrite: bool,
) -> bundle.Listed:
    """Copy an opened bundle to a path, or into a folder under its own name (see `holdfast.archive`)."""
    directory, name = _destination(disk, os.fspath(to), opened.record.name)
    record = bundle.archive(opened, disk, directory, name, compressed=compress, overwrite=overwrite)
    return bundle.Listed(bundle.bundle_path(directory, name), record)


def _destination(disk: Storage, to: str, name: str) -> tuple[str, str]:
    """The folder and the name of the copy."""
    path = to.rstrip("/") or "/"
    if not path.endswith(bundle.SUFFIX) and (to.endswith("/") or _is_folder(disk, path)):
        return path, name
    folder, _, last = path.removesuffix(bundle.SUFFIX).rpartition("/")
    if not last:
        raise UsageError(f"{to!r} names no checkpoint: give the copy a name, as in 'archives/best.ckpt.mml'.")
    return folder or ("/" if path.startswith("/") else "."), check_name(last)


def _is_folder(disk: Storage, path: str) -> bool:
    try:
        disk.open_directory(path).close()
    except OSError:
        return False
    return True
