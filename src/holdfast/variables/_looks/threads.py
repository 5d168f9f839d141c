"""Threads that run functions of the script beside the loop: where they are is in no checkpoint."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from types import FrameType

from .._frames import is_of_script


def running(run: str) -> dict[str, str]:
    """A sentence for each, by the name under which it can be ignored; the main thread, which may wait for the loop, aside."""
    found: dict[str, str] = {}
    for name in _functions(threading.enumerate()):
        key = f"threads.{name}"
        found[key] = (
            f"{key} runs beside the loop, and where it is cannot be saved: a resume starts it anew. Do in the loop what decides "
            f"anything; {run}ignore({key!r}) if it decides nothing"
        )
    return found


def _functions(threads: Iterable[threading.Thread]) -> list[str]:
    """The outermost functions of the script that these run."""
    own = (threading.current_thread(), threading.main_thread())
    others = [each.ident or 0 for each in threads if each not in own]
    if not others:
        return []
    frames = sys._current_frames()
    found = [_outermost(frames.get(each)) for each in others]
    frames.clear()  # among them is this one's: what it holds, and all below, would live on until garbage is collected
    return [name for name in found if name]


def _outermost(frame: FrameType | None) -> str:
    name = ""
    while frame is not None:
        if is_of_script(frame.f_code.co_filename):
            name = frame.f_code.co_qualname
        frame = frame.f_back
    return name
