"""The other callbacks of a `learn`: what of their plain attributes training has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, final

import numpy as np
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EventCallback,
    ProgressBarCallback,
)

from ... import state

_COUNTERS: Final = {"n_calls", "num_timesteps"}
_OF_SB3: Final = ("locals", "globals", "verbose")


def all_below(callback: BaseCallback) -> Iterator[BaseCallback]:
    """A callback and those that it calls, but for progress bars."""
    if isinstance(callback, ProgressBarCallback):
        return
    yield callback
    inner: Sequence[Any] = callback.callbacks if isinstance(callback, CallbackList) else ()
    if isinstance(callback, EventCallback) and callback.callback is not None:
        inner = [callback.callback]
    inner = [*inner, *filter(None, [getattr(callback, "callback_on_new_best", None)])]
    for each in {id(each): each for each in inner}.values():
        yield from all_below(each)


@final
class Siblings:
    """Callbacks by name. What the script has set and training has not changed (a frequency, a path) is not saved."""

    def __init__(self, callbacks: Mapping[str, BaseCallback]) -> None:
        self._callbacks = dict(callbacks)
        self._absent: dict[str, dict[str, Any]] = {}
        self._at_start = {name: _digests(each) for name, each in callbacks.items()}

    def take(self) -> dict[str, dict[str, Any]]:
        """Their changed attributes."""
        taken = {
            name: {
                key: vars(each)[key]
                for key, digest in _digests(each).items()
                if self._at_start[name].get(key) != digest
            }
            for name, each in self._callbacks.items()
        }
        return {name: changed for name, changed in taken.items() if changed} | self._absent

    def put(self, taken: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Set them; returns a sentence for each callback that is not here any more, and did more than count."""
        self._absent = {name: dict(each) for name, each in taken.items() if name not in self._callbacks}
        for name, changed in taken.items():
            if name in self._callbacks:
                vars(self._callbacks[name]).update(changed)
        return [
            f"a callback {name} had a state in the checkpoint, and is not among the callbacks now"
            for name, changed in self._absent.items()
            if changed.keys() - _COUNTERS
        ]

    def forget_absent(self) -> None:
        """The state was compared: what those that are not here have left is no part of it any more."""
        self._absent = {}


def _digests(callback: BaseCallback) -> dict[str, str]:
    return {
        key: state.digest(state.capture(value))
        for key, value in vars(callback).items()
        if key not in _OF_SB3 and _is_data(value)
    }


def _is_data(value: Any) -> bool:
    match value:
        case None | bool() | int() | float() | str() | np.generic():
            return True
        case np.ndarray():
            return value.dtype != object
        case list() | tuple():
            return all(map(_is_data, value))
        case dict():
            return all(map(_is_data, value.values())) and all(isinstance(key, str) for key in value)
        case _:
            return False
