"""A run's progress for whoever watches it: its step at every hook, in a file that survives a SIGKILL."""

from __future__ import annotations

import mmap
import os
import struct
from functools import cache
from typing import NamedTuple

STEP_FILE = "HOLDFAST_STEP_FILE"
"""The variable of the environment: a path at which the process keeps its present step."""

_FORM = struct.Struct("<qd")


class Seen(NamedTuple):
    """How far a run got: finished updates, and when (seconds of `time.time`)."""

    step: int
    at_s: float


def tell(step: int, at_s: float) -> None:
    """Note this step, if a watcher has set the variable; costs a write to memory."""
    place = os.environ.get(STEP_FILE)
    if place and (note := _mapped(place, os.getpid())) is not None:
        _FORM.pack_into(note, 0, step, at_s)


def seen(place: str | os.PathLike[str]) -> Seen | None:
    """The last progress noted; None if there is none."""
    try:
        with open(place, "rb") as file:
            data = file.read(_FORM.size)
    except FileNotFoundError:
        return None
    found = Seen(*_FORM.unpack(data)) if len(data) == _FORM.size else None
    return found if found is not None and found.at_s else None


@cache
def _mapped(place: str, pid: int) -> mmap.mmap | None:
    """The file, mapped into this process; None if that fails: a run does not end because it cannot be watched."""
    try:
        with open(place, "w+b") as file:
            file.truncate(_FORM.size)
            return mmap.mmap(file.fileno(), _FORM.size)
    except OSError:
        return None
