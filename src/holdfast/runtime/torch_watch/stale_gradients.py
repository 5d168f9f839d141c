"""Whether a loop still uses gradients after the update that they were for: it adds to them, or steps once more."""

from __future__ import annotations

from typing import Any, Final, final

import torch
from torch.optim import Optimizer

_ENOUGH: Final = 8  # updates in a row before which gradients were cleared


@final
class StaleGradients:
    """Of one optimizer, told by one of its parameters: before each update, had its gradient been cleared since the one before?

    It is looked at only in the first updates; for a loop that clears gradients, nothing is done from then on.

    Attributes:
        are_kept: whether used gradients may still matter: they do, or it is too early to tell.
    """

    def __init__(self) -> None:
        self.are_kept = True
        self._is_settled = False
        self._was_cleared = False
        self._updates = 0
        self._parameter: torch.Tensor | None = None
        self._hook: Any = None

    def after_step(self, optimizer: Optimizer) -> None:
        """The optimizer has made an update."""
        if self._is_settled:
            return
        if self._parameter is None:
            self._watch(optimizer)
            return
        self.are_kept = not self._was_cleared
        self._was_cleared, self._updates = False, self._updates + 1
        if self.are_kept or self._updates >= _ENOUGH:
            self.close()

    def close(self) -> None:
        """Watch no more; what was found holds."""
        self._is_settled = True
        if self._hook is not None:
            self._hook.remove()

    def _watch(self, optimizer: Optimizer) -> None:
        of_all = (each for group in optimizer.param_groups for each in group["params"])
        found = [each for each in of_all if each.grad is not None and each.requires_grad and each.is_leaf]
        if not found:
            return
        self._parameter = parameter = min(found, key=lambda each: each.numel())

        def before_accumulation(_: torch.Tensor) -> None:
            # Asked of no other than a gradient that is there: in most loops it is None.
            self._was_cleared = self._was_cleared or parameter.grad is None or not _is_any(parameter.grad)

        before_accumulation.__torch_unserializable__ = True  # type: ignore[attr-defined]  # else torch.save warns of it
        self._hook = parameter.register_hook(before_accumulation)


def _is_any(gradient: torch.Tensor) -> bool:
    with torch.no_grad():
        return bool((gradient.coalesce().values() if gradient.is_sparse else gradient).any())
