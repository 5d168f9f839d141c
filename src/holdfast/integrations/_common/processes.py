"""Several processes that train one model: process 0 saves and decides, and the others give it what they have for themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch.distributed

from ...errors import HoldfastError, Preempted

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
