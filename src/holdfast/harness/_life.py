"""One life of a script under `holdfast check`: where this process saves, where it is killed, and where it ends.

`HOLDFAST_CHECK` holds JSON, the fields of `Life`. The ends of batches and of epochs are counted across lives, so every life
of one script saves at the same places, whatever its policy says; a kill is a real SIGKILL that the process sends itself.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final

from ..records import Moment
from ..storage import LocalDisk, Storage
from ..testing import KillingDisk
from ._trace import Trace

LIFE: Final = "HOLDFAST_CHECK"
CHECKED: Final = "holdfast check"
"""The reason of its saves."""

_COUNTED = ("batch_end", "epoch_end")


@dataclass(frozen=True, slots=True)
class Life:
    """What one process is to do.

    Attributes:
        trace: the file to which it writes what it saw at each hook.
        every: it saves at each so many counted hooks.
        last: the counted hook, from 1, after whose save it ends.
        done: how many were counted before it.
        kill_at: the counted hook at which it is killed, before that is saved; 0: none.
        kill_at_event: the change of the disk, from 1, before which it is killed; 0: none.
    """

    trace: str
    every: int
    last: int
    done: int = 0
    kill_at: int = 0
    kill_at_event: int = 0

    def to_text(self) -> str:
        return json.dumps(asdict(self))


class _Living:
    """This process's life, as far as it has come."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._trace = Trace(life.trace)
        self._number = life.done
        self._is_last = False

    def reason_at(self, moment: Moment) -> str | None:
        """Count this hook, and look at the script; the reason to save now, or None."""
        life = self._life
        if moment.hook in _COUNTED:
            self._number += 1
        self._trace.note(self._number, moment)
        if moment.hook not in _COUNTED:
            return None
        if self._number == life.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._is_last = self._number >= life.last
        return CHECKED if self._is_last or self._number % life.every == 0 else None

    def saved(self) -> None:
        """After a commit: end the process if this was the last, before the script continues."""
        if self._is_last:
            end_process()


def end_process() -> None:
    """End at once, with what was printed and logged so far."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@cache
def _living(text: str, pid: int) -> _Living:
    return _Living(Life(**json.loads(text)))


def living() -> _Living | None:
    """What this process, of a script that is checked, is to do; None if it is none."""
    text = os.environ.get(LIFE)
    return _living(text, os.getpid()) if text else None


def disk_of_life(make: Callable[[], Storage] = LocalDisk) -> Storage:
    """The disk that runs write to: in a life that ends at one of its changes, one that kills the process there."""
    text = os.environ.get(LIFE)
    event: Any = json.loads(text)["kill_at_event"] if text else 0
    return KillingDisk(make(), event - 1) if event else make()
