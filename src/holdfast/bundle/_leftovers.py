"""Unfinished saves and deletions that dead writers left behind, and nothing else.

An unfinished save belongs to whoever holds the lock on its owner file. It is a leftover only if the lock
can be taken *and* nothing in it was written for an hour by the disk's own clock (a day where locks do not
work). A deletion is either still in doubt, and then finished or undone; or decided, and then anybody may
finish it. A damaged bundle is never a leftover.
"""

from __future__ import annotations

import contextlib
import logging

from ..errors import HoldfastError
from ..records import CheckpointRecord
from ..storage import Directory, Storage
from ._format.names import (
    OWNER,
    RECORD,
    bundle_path,
    in_progress,
    new_id,
    overwrite_id,
    overwrite_owner,
    pinned_name,
    trash_path,
)
from ._open import named_files, read_record
from ._pin import is_pinned

logger = logging.getLogger("holdfast")

GRACE_S = 3600.0
GRACE_WITHOUT_LOCKS_S = 24 * 3600.0


def sweep(disk: Storage, directory: str, now_s: float) -> list[str]:
    """Remove the leftovers in `directory`; returns their paths. `now_s` is by the disk's clock."""
    removed = []
    try:
        entries = disk.folders(directory)
    except OSError as err:
        logger.warning("%s cannot be searched for leftovers: %s", directory, err)
        return []
    for entry in entries:
        found = in_progress(entry)
        if found is None:
            continue
        name, id, kind = found
        path = f"{directory}/{entry}"
        with contextlib.suppress(OSError):
            if kind == "part" and not _is_leftover(disk, path, now_s):
                continue
            if kind == "aside":
                path = _settle(disk, path, directory, name, id)
                if path is None:
                    continue
            remove_trash(disk, directory, path)
            removed.append(path)
            logger.info("removed the leftover %s", path)
    return removed


def remove_trash(disk: Storage, directory: str, path: str) -> None:
    """Remove a directory of `directory` that is no longer a checkpoint, except for files that are not ours."""
    sync_removal(disk, directory)
    empty_trash(disk, path)


def sync_removal(disk: Storage, directory: str) -> None:
    """Make it durable that a checkpoint's name is gone: else a power cut could bring it back, and its files not."""
    with contextlib.suppress(PermissionError), disk.open_directory(directory) as above:
        above.sync()


def empty_trash(disk: Storage, path: str) -> None:
    """Remove what was a checkpoint, except for files that are not ours; the end of its name must be durable."""
    with contextlib.suppress(FileNotFoundError):  # others may be removing it too
        with disk.open_directory(path) as inside:
            for entry in inside.names():
                if is_ours(entry):
                    with contextlib.suppress(FileNotFoundError):
                        inside.unlink(entry)
        disk.rmdir(path)


def sweep_bundle(inside: Directory, now_s: float | None = None) -> None:
    """Remove from a bundle the files of overwrites that were never committed."""
    with contextlib.suppress(OSError, HoldfastError):
        record = read_record(inside, "")
        named = set(named_files(inside, "", record))
        strays: dict[str, list[str]] = {}
        for entry in inside.names():
            id = overwrite_id(entry)
            if id is not None and entry not in named:
                strays.setdefault(id, []).append(entry)
        if strays:
            inside.sync()  # else a power cut could bring back the record that names them
        for id, entries in strays.items():
            if _is_abandoned(inside, overwrite_owner(id), entries, now_s):
                for entry in entries:
                    inside.unlink(entry)


def is_ours(entry: str) -> bool:
    return entry in (OWNER, RECORD) or overwrite_id(entry) is not None


def put_back(disk: Storage, aside: str, path: str) -> bool:
    """Undo the deletion of a checkpoint that was not the one meant; False if its name is taken again."""
    try:
        disk.rename(aside, path)
    except OSError:
        return False
    return True


def put_pinned_back(disk: Storage, aside: str, directory: str, name: str, id: str) -> None:
    """Undo the deletion of a checkpoint that was pinned meanwhile, under another name if its own is taken again."""
    if not put_back(disk, aside, bundle_path(directory, name)):
        disk.rename(aside, bundle_path(directory, pinned_name(name, id)))


def record_in(disk: Storage, path: str) -> CheckpointRecord | None:
    """The record of the directory at `path`; None if there is no valid one."""
    try:
        with disk.open_directory(path) as inside:
            return read_record(inside, path)
    except (OSError, HoldfastError):
        return None


def _settle(disk: Storage, aside: str, directory: str, name: str, id: str) -> str | None:
    """Finish or undo a deletion left in doubt; returns the trash, None if it was undone."""
    record = record_in(disk, aside)
    if is_pinned(disk, aside):
        put_pinned_back(disk, aside, directory, name, id)
        return None
    if (record is None or record.id != id) and put_back(disk, aside, bundle_path(directory, name)):
        return None
    trash = trash_path(directory, name, new_id())
    disk.rename(aside, trash)
    return trash


def _is_leftover(disk: Storage, path: str, now_s: float) -> bool:
    with disk.open_directory(path) as inside:
        return _is_abandoned(inside, OWNER, [".", *inside.names()], now_s)


def _is_abandoned(inside: Directory, owner: str, entries: list[str], now_s: float | None) -> bool:
    """Nobody holds `owner`, and the newest of `entries` is old enough."""
    held: bool | None = None  # without an owner file only age can tell
    if owner in entries:
        held = inside.is_held(owner)
    if held:
        return False
    if now_s is None:
        now_s = _now(inside)
    grace_s = GRACE_WITHOUT_LOCKS_S if held is None else GRACE_S
    return all(now_s - inside.status(entry).modified_s > grace_s for entry in entries)


def _now(inside: Directory) -> float:
    """The disk's own time: that of a file made now."""
    name = overwrite_owner(new_id())
    held = inside.hold(name)
    try:
        return inside.status(name).modified_s
    finally:
        held.release()
        inside.unlink(name)
