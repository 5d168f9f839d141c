"""The script's own functions and objects that a plan calls while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ._callbacks import Callback
from ._phases import Unit, walk


def functions_of(callbacks: Sequence[Callback], units: Sequence[Unit]) -> Iterator[Any]:
    """Training steps, losses, metrics, and callbacks that save nothing by themselves; some are the library's own."""
    yield from _forgetful(callbacks)
    for _, unit in walk(units):
        yield getattr(unit, "step", None)
        yield getattr(unit, "columns", None)
        for each in (*getattr(unit, "losses", ()), *getattr(unit, "metrics", ())):
            yield each.function
        yield from _forgetful(getattr(unit, "callbacks", ()))


def saves_itself(callback: Callback) -> bool:
    """Whether it says what it keeps across a resume."""
    return type(callback).get_state is not Callback.get_state


def _forgetful(callbacks: Sequence[Callback]) -> Iterator[Callback]:
    return (each for each in callbacks if not saves_itself(each))
