"""Claiming an experiment's directory: one live process at a time, in a place that can be written."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from blake3 import blake3

from .. import bundle
from ..checkpoint import LOCK
from ..errors import RunActiveError, SaveError
from ..storage import Held, Storage

_ID: Final = re.compile(r"[0-9a-f]{32}")
_TRIES, _BETWEEN_S = 100, 0.05
"""How often and how soon to try again for the lock of a process that is dead."""
_RUNS = ".runs"
"""A folder in an experiment's directory that holds an empty one for each run that has saved there; made when it is first held."""


def file_of(run: str) -> str:
    """The name of what is kept for a run: its id, unless that is of a foreign record, which may say anything."""
    return run if _ID.fullmatch(run) else blake3(run.encode(errors="surrogatepass")).hexdigest(16)


def try_out(disk: Storage, folder: str) -> None:
    """Fail now, and not after hours of training, if nothing can be saved to this folder."""
    probe = bundle.part_path(folder, "probe", bundle.new_id())  # of a name that is swept should we die here
    try:
        _make(disk, folder)
        disk.mkdir(probe)
        disk.rmdir(probe)
    except OSError as err:
        raise SaveError(folder, f"nothing can be saved to this directory: {err.strerror}") from err


def claim(disk: Storage, path: str, *, share: bool) -> Held | None:
    """Make the directory and hold it; None if somebody else does, and `share` allows it.

    Raises:
        RunActiveError: somebody else does.
        SaveError: it cannot be made or written.
    """
    # A name that is not UTF-8 is written as it is shown.
    me = f"{socket.gethostname()} {os.getpid()}".encode(errors="backslashreplace").decode()
    with _needed(path):
        _make(disk, path)
        if _is_new(disk, path):  # before the lock is held: what fails here leaves none
            _make(disk, f"{path}/{_RUNS}")
        with disk.open_directory(path) as here:
            held = here.claim(LOCK, me.encode())
            patience = 0 if share else _TRIES
            while held is None and (patience := patience - 1) >= 0 and _is_dead(*_holder(disk, path)):
                time.sleep(_BETWEEN_S)
                held = here.claim(LOCK, me.encode())
            if held is None and not share:
                host, pid = _holder(disk, path)
                raise RunActiveError(path, host, pid, f"{host} {pid}" == me)
    return held


def _is_new(disk: Storage, path: str) -> bool:
    """Whether no run has ever held the directory; unlike `has_been_held`, no guess where that cannot be read."""
    with disk.open_directory(path) as here:
        try:
            here.status(LOCK)
        except FileNotFoundError:
            return True
    return False


def place_of(disk: Storage, path: str) -> object:
    """Which directory has this path now, by its lock; None if there is none."""
    with _needed(path):
        try:
            with disk.open_directory(path) as here:
                return here.status(LOCK).identity
        except (FileNotFoundError, NotADirectoryError):
            return None


def note_run(disk: Storage, path: str, run: str) -> None:
    """Keep, durably, that this run saves in this directory: what others saved may have been copied here.

    Raises:
        SaveError: the disk refused.
    """
    with _needed(path):
        _make(disk, f"{path}/{_RUNS}/{file_of(run)}")


def noted_runs(disk: Storage, path: str) -> frozenset[str] | None:
    """The runs, as `file_of` names them, that have saved in this directory; None if it is older than this note.

    Raises:
        CheckpointUnreadableError: the system refuses to list them.
    """
    place = f"{path}/{_RUNS}"
    try:
        return frozenset(disk.folders(place))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise bundle.unreadable(place, "it cannot be listed", err) from err


def clear_leftovers(disk: Storage, path: str) -> None:
    """Remove what killed processes left in a held directory, and in the folders of its phases."""
    with _needed(path):
        with disk.open_directory(path) as here:
            now_s = here.status(LOCK).modified_s
        inside = [
            f"{path}/{name}"
            for name in disk.folders(path)
            if not name.endswith(bundle.SUFFIX) and not name.startswith(".")
        ]
    for folder in (path, *inside):
        bundle.sweep(disk, folder, now_s)


def _make(disk: Storage, folder: str) -> None:
    """Create a folder and what is missing above it, durably: a save looks only one directory up."""
    for place in dict.fromkeys(bundle.make_directories(disk, folder)):
        with disk.open_directory(place) as above:
            above.sync()


def _holder(disk: Storage, path: str) -> tuple[str, int]:
    with disk.open_directory(path) as here:
        file = here.open(LOCK)
        note = bytearray(min(file.size, 1024))
        file.read_into(0, memoryview(note))
        file.close()
    host, _, rest = note.decode(errors="replace").partition(" ")
    pid = rest.partition(" ")[0]
    return host or "?", int(pid) if pid.isdigit() else 0


def _is_dead(host: str, pid: int) -> bool:
    """Whether the holder is a process of this machine that is no more: what it was starting may have its lock for a moment."""
    if host != socket.gethostname() or pid <= 0 or sys.platform == "win32":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def _needed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise SaveError(path, f"it cannot be used as an experiment's directory: {err.strerror}") from err
