"""Saves that are committed while training continues, one after another.

Each job runs in a thread of its own that is no daemon: whatever way the interpreter ends, it first waits for
the job. SIGTERM would end it without: while a job is under way, and if nobody else handles that signal, it
ends the process only after the job. So short of SIGKILL, a save that was accepted is committed, or its failure
is known.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import weakref
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
        _writers.add(self)

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way in this process."""
        return self._thread is not None and self._thread.is_alive()

    def settle(self) -> float:
        """Return once no job is under way; the seconds that took. Raises nothing."""
        began_s = time.perf_counter()
        if self._thread is not None:
            self.prepare(wait=True)
            self._thread.join()
            self._thread = None
        self._needs = None
        _end_at_once_on_sigterm()
        return time.perf_counter() - began_s

    def submit(self, job: Callable[[], object], *, needs: Needs | None = None) -> None:
        """Run `job` in the background, once the one before has ended. `needs`: what it will wait for."""
        self.settle()
        self._needs = needs
        _finish_first_on_sigterm()
        thread = threading.Thread(target=self._run, args=(job,), name="holdfast-writer", daemon=False)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as err:  # no more threads: by a limit, or because the interpreter is ending
            logger.warning("saving without a thread: %s", err)
            self._thread = None
            self.prepare(wait=True)
            self._run(job)

    def prepare(self, *, wait: bool) -> None:
        """Do what the job under way needs of this thread; with `wait=False` only if that takes no time."""
        if self._needs is not None:
            self._needs(wait=wait)

    def check(self) -> None:
        """Raise what an ended job has raised."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            _end_at_once_on_sigterm()
        if self._failures:
            raise self._failures.pop(0)

    def wait(self) -> None:
        """Return once everything submitted is done; raises what a job has raised."""
        self.settle()
        self.check()

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as err:
            logger.error("a save in the background failed: %s", err)
            self._failures.append(err)

    def _forget(self) -> None:
        self._thread = self._needs = None
        self._failures.clear()


_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


def is_ours(handler: object) -> bool:
    """Whether this handler of a signal is the one that finishes a save first, and then ends the process."""
    return handler is _end_after_saving


def _finish_first_on_sigterm() -> None:
    if _is_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end_after_saving)


def _end_at_once_on_sigterm() -> None:
    """Give the signal back, so that it ends the process even where no Python code runs."""
    ours = is_ours(signal.getsignal(signal.SIGTERM))
    if ours and _is_main_thread() and not any(writer.is_busy for writer in _writers):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_after_saving(number: int, frame: object) -> None:
    for writer in list(_writers):
        if writer.is_busy:
            logger.warning("told to end (SIGTERM): finishing the save that is under way first")
            writer.settle()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _begin_as_child() -> None:
    # A fork has our memory, but not our thread: what is under way, and its failures, are the parent's.
    for writer in list(_writers):
        writer._forget()
    _end_at_once_on_sigterm()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)
