"""What asks a run from outside to save, or to save and leave: signals, Ctrl+C, and a file called `save-now`."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from ..errors import Preempted
from ..policy import Checkpointing
from ..storage import Storage
from ._signals import SignalWatch
from ._together.agreement import Agreement
from ._writer import BackgroundWriter

logger = logging.getLogger("holdfast")

SAVE_NOW = "save-now"
"""The file's name; whoever wants a save creates it in a directory to which the run saves."""

BY_FILE = f"requested by the file {SAVE_NOW}"
BY_REQUEST = "requested by request()"

COMPLETE = frozenset({"batch_end", "epoch_end", "phase_end", "group_end", "experiment_end"})
"""Hooks at which nothing is half done and at which a call is answered."""

_LOOKS_EVERY_S = 1.0


class Calls:
    """Calls to one run, which hears them only at its hooks.

    At each hook: `hear`, then `answer` from whoever can save there (the first gets the call), then `obey`.

    Args:
        folders: where the file may be.
        agreement: where several ranks have the run, through which all of them hear a call to one.
    """

    def __init__(
        self,
        disk: Storage,
        folders: Sequence[str],
        writer: BackgroundWriter,
        clock: Callable[[], float] = time.monotonic,
        agreement: Agreement | None = None,
    ) -> None:
        self._disk, self._folders, self._writer, self._clock = disk, folders, writer, clock
        self._agreement = agreement
        self._policies: Sequence[Checkpointing] = ()
        self._watch = SignalWatch()
        self._exit_code = 0
        self._looks_again_s = clock()
        self._heard: signal.Signals | None = None
        self._call: str | None = None  # not answered yet
        self._noticed: str | None = None  # of several ranks by this one, which not all have heard yet

    @contextmanager
    def heeding(self, policies: Iterable[Checkpointing]) -> Iterator[None]:
        """Note the signals that these policies name, and leave as they say if one came after the last hook."""
        self._policies = policies = list(policies)
        told = [policy.save_on_preemption for policy in policies if policy.save_on_preemption is not None]
        waits = [each.deadline_s for each in told if each.deadline_s is not None]
        self._exit_code = told[0].exit_code if told else 0
        with self._watch.watching(
            [each for policy in policies for each in policy.signals],
            deadline_s=min(waits, default=None),
            exit_code=self._exit_code,
            interrupts=any(policy.save_on_exception for policy in policies),
        ):
            with nullcontext() if self._agreement is None else self._agreement.talking():
                yield
            self._heard = self._watch.told
            self.obey()

    def hear(self, hook: str) -> None:
        """The run is at this hook, with everything that belongs to it done."""
        if hook not in COMPLETE:
            return
        if self._agreement is not None:
            self._hear_with_all(self._agreement, is_last=hook == "phase_end")
        elif self._heard is None and self._watch.told is not None:
            self._heed(self._watch.told)
        elif self._call is None and self._is_file_there():
            self._call = BY_FILE

    def passes(self) -> bool:
        """Whether there is nothing to hear at one of these hooks, so that the run may pass it; it is counted then."""
        if self._watch.told is not None or self._call is not None:
            return False
        return self._agreement is None or self._agreement.passes()

    def answer(self) -> str | None:
        """What was heard, as the reason of a save; None if nothing was, or it has been answered."""
        call, self._call = self._call, None
        return call

    def obey(self) -> None:
        """Leave if a signal was heard, once everything is committed.

        Raises:
            Preempted: a signal was heard.
            KeyboardInterrupt: Ctrl+C was.
            SaveError: the save has failed; older checkpoints are as they were.
        """
        if self._heard is None:
            return
        told, self._heard, self._call = self._heard, None, None
        self._writer.wait()
        self._watch.stand_down()
        if told is signal.SIGINT:
            if self._watch.told is told:
                self._watch.told = None  # whoever catches it may train on
            raise KeyboardInterrupt
        logger.warning(
            "leaving with exit code %d, %.3g s after %s",
            *(self._exit_code, self._watch.seconds_since_told(), told.name),
        )
        raise Preempted(told.name, self._exit_code)

    def _heed(self, told: signal.Signals) -> None:
        self._heard = told
        self._call = "Ctrl+C" if told is signal.SIGINT else f"told to leave ({told.name})"

    def _hear_with_all(self, agreement: Agreement, *, is_last: bool) -> None:
        if self._is_file_there():
            self._noticed = BY_FILE
        told, is_requested = self._watch.told, any(each.is_requested for each in self._policies)
        agreement.want("signal", None if told is None else told.name)
        agreement.want("call", BY_REQUEST if is_requested else self._noticed)
        facts = agreement.at_hook(is_last=is_last)
        if "call" in facts:
            self._call, self._noticed = facts["call"], None
        if "signal" in facts:
            self._watch.hear(signal.Signals[facts["signal"]])
            self._heed(signal.Signals[facts["signal"]])

    def _is_file_there(self) -> bool:
        """Whether somebody has created the file, which is then removed; looked at once a second at most."""
        if self._clock() < self._looks_again_s:
            return False
        self._looks_again_s = self._clock() + _LOOKS_EVERY_S
        taken = [self._take_file(folder) for folder in self._folders]  # from all of them
        return any(taken)

    def _take_file(self, folder: str) -> bool:
        try:
            with self._disk.open_directory(folder) as here:
                here.status(SAVE_NOW)
                here.unlink(SAVE_NOW)  # first, so that what cannot be removed is not obeyed for ever
        except OSError:
            return False
        return True
