"""Threads that run functions of the script beside the loop: where they are is in no checkpoint."""

from __future__ import annotations

import sys
import threading

from .._frames import is_of_script


def running(run: str) -> dict[str, str]:
    """A sentence for each, by the name under which it can be ignored; the main thread, which may wait for the loop, aside."""
    found: dict[str, str] = {}
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame, name = frames.get(thread.ident or 0), ""
        if thread in (threading.current_thread(), threading.main_thread()):
            continue
        while frame is not None:  # the outermost one counts
            if is_of_script(frame.f_code.co_filename):
                name = frame.f_code.co_qualname
            frame = frame.f_back
        if name:
            key = f"threads.{name}"
            found[key] = (
                f"{key} runs beside the loop, and where it is cannot be saved: a resume starts it anew. Do in the loop what decides "
                f"anything; {run}ignore({key!r}) if it decides nothing"
            )
    return found
