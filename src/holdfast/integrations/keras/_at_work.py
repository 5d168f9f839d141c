"""Optimizers of Keras that train while a fit lasts and are not the one that the model was compiled with."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, final
from weakref import WeakSet

import keras

from ...state.adapters.keras import held_by

_KIND: Any = keras.optimizers.Optimizer
HAND_OVER = "compile the model with it, or train it in a loop of your own with holdfast.Run"


@final
class KerasOptimizers:
    """Sees every optimizer that is applied in this thread, from now on until `close`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._thread = threading.get_ident()
        self._seen: WeakSet[Any] = WeakSet()
        self._saved: set[int] = set()  # ids of those that the model holds
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
        others = [each for each in self._seen if id(each) not in held and id(each) not in self._saved]
        if others:  # a model saves those in its attributes, too
            self._saved = {id(each) for each in held_by(self._model).values()}
        names = sorted({type(each).__name__ for each in others if id(each) not in self._saved})
        return [f"an optimizer of Keras ({each}) trains and is not the model's own" for each in names]
