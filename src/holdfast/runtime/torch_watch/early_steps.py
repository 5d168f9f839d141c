"""Steps of optimizers before the loop of a run has begun: nothing knows of them, and nothing saves what they have trained."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, final

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook


@final
class EarlySteps:
    """Calls `refuse` with the name of the class of each optimizer that is about to step in this thread, until `close`."""

    def __init__(self, refuse: Callable[[str], None]) -> None:
        self._refuse, self._thread = refuse, threading.get_ident()
        self._handle = register_optimizer_step_pre_hook(self._before_step)

    def close(self) -> None:
        """Watch no more."""
        self._handle.remove()

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        if threading.get_ident() == self._thread:
            self._refuse(type(optimizer).__name__)
