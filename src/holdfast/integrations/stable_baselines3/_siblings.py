"""The other callbacks of a `learn`: which there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EventCallback,
    ProgressBarCallback,
)

from .._common.siblings import Siblings

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


def siblings(callbacks: Mapping[str, BaseCallback]) -> Siblings:
    """Those of these names."""
    return Siblings(callbacks, lambda _, key: key in _OF_SB3, counters=_COUNTERS)
