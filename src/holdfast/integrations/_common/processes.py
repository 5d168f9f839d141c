"""Several processes that train one model: process 0 saves and decides, and the others give it what they have for themselves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch.distributed

from ...errors import HoldfastError, Preempted
from ...policy import Checkpointing

_GIVE, _RESUME = "give", "resume"


@final
class Processes:
    """Those of one training, which all come to the same hooks.

    Args:
        number: how many.
        broadcast: gives in each process what process 0 has passed to it.
    """

    def __init__(self, number: int, broadcast: Callable[[Any], Any]) -> None:
        self._number, self._broadcast = number, broadcast

    @contextmanager
    def leading(self) -> Iterator[None]:
        """In process 0: what is done inside, the others wait for; what it raises ends them, too."""
        if self._number == 1:
            yield
            return
        try:
            yield
        except BaseException as err:
            self._broadcast(_word_for(err))
            raise
        self._broadcast(_RESUME)

    def follow(self, own: Callable[[], Any]) -> None:
        """In the other processes: wait for process 0, and give it their `own` when it asks.

        Raises:
            Preempted, KeyboardInterrupt, HoldfastError: process 0 has ended by such an exception.
        """
        while (word := self._broadcast(None)) != _RESUME:
            if word != _GIVE:
                raise _error_of(*word)
            _gathered(own())

    def gather_others(self, mine: Callable[[], Any] = lambda: None) -> list[Any]:
        """In process 0, while it leads: what the others have for themselves, by rank from 1.

        `mine` is called meanwhile: here goes what all of them have to do together.
        """
        if self._number == 1:
            return []
        self._broadcast(_GIVE)
        mine()
        return _gathered(None)[1:]


def watched_handlers(policy: Checkpointing) -> dict[signal.Signals, Any]:
    """The handlers, as they are now, of the signals that this policy watches; none where Python cannot set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    watched = [*policy.signals, *([signal.SIGINT] if policy.save_on_exception else [])]
    return {each: signal.getsignal(each) for each in watched}


@contextmanager
def leaving_signals_to_process_0(policy: Checkpointing) -> Iterator[None]:
    """What the policy watches, process 0 hears and decides; the others do what it says."""
    before = watched_handlers(policy)
    for number in before:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _gathered(mine: Any) -> list[Any]:
    """Of all processes, by rank."""
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, mine)
    return every


def _word_for(err: BaseException) -> tuple[str, str, int]:
    if isinstance(err, Preempted):
        return ("preempted", err.signal, int(err.code or 0))
    kind = "interrupted" if isinstance(err, KeyboardInterrupt) else "failed"
    return (kind, f"{type(err).__name__}: {err}", 0)


def _error_of(kind: str, what: str, code: int) -> BaseException:
    match kind:
        case "preempted":
            return Preempted(what, code)
        case "interrupted":
            return KeyboardInterrupt()
        case _:
            return HoldfastError(f"process 0 has ended the training: {what}")
