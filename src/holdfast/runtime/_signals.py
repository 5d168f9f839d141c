"""Signals that ask a run to save and leave: they are noted at once, and obeyed when a step is complete.

A handler only notes what came, so it can interrupt anything. With a deadline, a thread that exists beforehand
ends the process when it passes: at any instant, for what is committed then is safe.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _writer as writer

logger = logging.getLogger("holdfast")

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: it failed for now, and is to be tried again."""


class SignalWatch:
    """Notes the first of the signals that it watches. For one run at a time.

    Attributes:
        told: the signal that came, None if none has.
    """

    def __init__(self) -> None:
        self.told: signal.Signals | None = None
        self._told_at_s = 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._pipe: tuple[socket.socket, socket.socket] | None = None  # whose second end the watchdog reads
        self._owner = os.getpid()

    @contextmanager
    def watching(
        self,
        signals: Iterable[signal.Signals],
        *,
        deadline_s: float | None = None,
        exit_code: int = EXIT_CODE,
        interrupts: bool = False,
    ) -> Iterator[None]:
        """Note these signals; afterwards whoever handled them does so again.

        What the user had installed is called as well. Nothing is installed outside of the main thread, where
        Python cannot.

        Args:
            deadline_s: seconds after the signal at which the process ends with `exit_code`, whatever it does.
            interrupts: note the first Ctrl+C as well, if it would raise KeyboardInterrupt; the second does.
        """
        wanted = list(dict.fromkeys(signals))
        if interrupts and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            wanted.append(signal.SIGINT)
        if not wanted:
            yield
            return
        if threading.current_thread() is not threading.main_thread():
            logger.warning(
                "signals are not watched, because this run is not in the main thread: %s",
                ", ".join(each.name for each in wanted),
            )
            yield
            return
        self.told, self._owner = None, os.getpid()
        watchdog = None if deadline_s is None else self._start_watchdog(deadline_s, exit_code)
        try:
            for each in wanted:
                self._before[each] = signal.signal(each, self._note)
            _watches.add(self)
            yield
        finally:
            _watches.discard(self)
            self._restore()
            if watchdog is not None:
                self.stand_down()
                watchdog.join()
                self._close_pipe()

    def stand_down(self) -> None:
        """What was requested is done: the deadline no longer counts."""
        self._tell_watchdog(b"d")

    def hear(self, came: signal.Signals) -> None:
        """Another process of the run was told: so is this one, from now on."""
        if self.told is None:
            self._told_at_s = time.monotonic()
            self.told = came
            self._tell_watchdog(b"t")

    def seconds_since_told(self) -> float:
        return time.monotonic() - self._told_at_s

    def _note(self, number: int, frame: Any) -> None:
        # Runs between two instructions of the main thread, whatever that holds: so no lock and no log here.
        came = signal.Signals(number)
        if self.told is None or (self.told is signal.SIGINT and came is not signal.SIGINT):
            self._told_at_s = time.monotonic()
            self.told = came
            if came is not signal.SIGINT:
                self._tell_watchdog(b"t")
        elif came is signal.SIGINT:
            raise KeyboardInterrupt
        before = self._before.get(came)
        if callable(before) and before is not signal.default_int_handler and not writer.is_ours(before):
            before(number, frame)

    def _restore(self) -> None:
        for each, before in self._before.items():
            if signal.getsignal(each) == self._note:  # else somebody has taken over, who knows best
                # None: it was not installed from Python, and cannot be put back from here.
                signal.signal(each, signal.SIG_DFL if before is None else before)
        self._before.clear()

    # --- the deadline -----------------------------------------------------------------------------

    def _start_watchdog(self, deadline_s: float, exit_code: int) -> threading.Thread:
        self._pipe = socket.socketpair()
        arguments = (self._pipe[1], deadline_s, exit_code)
        thread = threading.Thread(
            target=_keep_deadline, args=arguments, name="holdfast-deadline", daemon=True
        )
        thread.start()
        return thread

    def _tell_watchdog(self, word: bytes) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe[0].send(word)

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            for end in self._pipe:
                end.close()
            self._pipe = None

    def _begin_as_child(self) -> None:
        """A fork is no run: SIGTERM ends it as ever, and what else is watched is its parent's affair.

        A data loading worker that dies of a signal meant for the entire job would end the step that is to be finished.
        """
        for each, before in self._before.items():
            if signal.getsignal(each) == self._note:
                ends = each in (signal.SIGTERM, signal.SIGINT)
                default = signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL
                foreign = callable(before) and not writer.is_ours(before)
                signal.signal(each, before if foreign else default if ends else signal.SIG_IGN)
        self._before.clear()
        self._close_pipe()


def _keep_deadline(told: socket.socket, deadline_s: float, exit_code: int) -> None:
    if told.recv(1) != b"t":
        return
    done, _, _ = select.select([told], [], [], deadline_s)
    if done:
        return
    logger.error(
        "the deadline of %g s has passed before a checkpoint was committed: leaving. The last one committed is "
        "what the next run resumes from.",
        deadline_s,
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(exit_code)


_watches: weakref.WeakSet[SignalWatch] = weakref.WeakSet()


def _begin_as_child() -> None:
    for watch in list(_watches):
        watch._begin_as_child()
    _watches.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_as_child)
