"""Saves that are committed while training goes on, one after another.

Each job runs in a thread of its own that is no daemon: whatever way the interpreter ends, short of being
killed, it first waits for the job. So a save that was accepted is committed, or its failure is known.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("holdfast")


class Needs(Protocol):
    """What a job waits for, to be done by the thread that trains; `wait=False`: only if that takes no time."""

    def __call__(self, *, wait: bool) -> None: ...


class BackgroundWriter:
    """At most one job is under way; who submits another waits for it. For use by one thread.

    A job that raises is not run again; `check` and `wait` raise what it raised, once. A job may need
    something of the thread that trains, and wait for it: whoever waits for the job does that first.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._needs: Needs | None = None
        self._failures: list[BaseException] = []
        self._process = os.getpid()

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way in this process."""
        return self._thread is not None and self._thread.is_alive() and self._process == os.getpid()

    def settle(self) -> float:
        """Return once no job is under way; the seconds that took. Raises nothing."""
        began_s = time.perf_counter()
        if self._process != os.getpid():  # a fork has our memory, but not our thread
            self._thread, self._needs, self._process = None, None, os.getpid()
        if self._thread is not None:
            self.prepare(wait=True)
            self._thread.join()
        self._thread = self._needs = None
        return time.perf_counter() - began_s

    def submit(self, job: Callable[[], None], *, needs: Needs | None = None) -> None:
        """Run `job` in the background, once the one before has ended. `needs`: what it will wait for."""
        self.settle()
        self._needs = needs
        self._thread = threading.Thread(target=self._run, args=(job,), name="holdfast-writer", daemon=False)
        try:
            self._thread.start()
        except RuntimeError as err:  # there is no memory for a thread
            logger.warning("the save is committed in the foreground: %s", err)
            self._thread = None
            self.prepare(wait=True)
            self._run(job)

    def prepare(self, *, wait: bool) -> None:
        """Do what the job under way needs of this thread; with `wait=False` only if that takes no time."""
        if self._needs is not None and self._process == os.getpid():
            self._needs(wait=wait)

    def check(self) -> None:
        """Raise what an ended job has raised."""
        if self._failures:
            raise self._failures.pop(0)

    def wait(self) -> None:
        """Return once everything submitted is done; raises what a job has raised."""
        self.settle()
        self.check()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as err:
            logger.error("a save in the background failed: %s", err)
            self._failures.append(err)
