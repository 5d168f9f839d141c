"""Optimizers of Keras that train while a fit lasts and are not the one that the model was compiled with."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, final
from weakref import WeakSet

import keras

_KIND: Any = keras.optimizers.Optimizer
HAND_OVER = "compile the model with it, or train it in a loop of your own with holdfast.Run"


@final
class KerasOptimizers:
    """Sees every optimizer that is applied in this thread, from now on until `close`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._thread = threading.get_ident()
        self._seen: WeakSet[Any] = WeakSet()
        self._apply: Callable[..., Any] = _KIND.apply

        @functools.wraps(self._apply)
        def apply(optimizer: Any, *given: Any, **options: Any) -> Any:
            if threading.get_ident() == self._thread:
                self._seen.add(optimizer)
            return self._apply(optimizer, *given, **options)

        _KIND.apply = apply

    def close(self) -> None:
        """See no more."""
        _KIND.apply = self._apply

    @property
    def found(self) -> list[str]:
        """A sentence for each that no checkpoint holds."""
        own, held = self._model.optimizer, set[int]()
        while own is not None and id(own) not in held:
            held.add(id(own))
            own = getattr(own, "inner_optimizer", None)  # of one that scales the loss
        others = sorted({type(each).__name__ for each in self._seen if id(each) not in held})
        return [f"an optimizer of Keras ({each}) trains and is not the model's own" for each in others]
