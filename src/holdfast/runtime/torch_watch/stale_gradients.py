"""Whether a loop still uses gradients after the update that they were for: adds to them, steps once more, or reads them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import torch
from torch.optim import Optimizer

from ...state.adapters.torch import is_sharded
from .gradient_reads import script_reads_gradients

_ENOUGH: Final = 8  # updates in a row before which gradients were cleared


@dataclass
class _Seen:
    """What is known of an optimizer's loop, as plain data.

    Attributes:
        num_updates: those after the first.
        watched: the parameter that tells, by its place in the optimizer; None until one has a gradient.
        is_cleared: since the last update.
        is_zeroed: when it was last cleared, it was filled with zeros.
        is_kept: used gradients may still matter: they do, or it is too early to tell.
        is_settled: that is decided.
    """

    num_updates: int = 0
    watched: int | None = None
    is_cleared: bool = False
    is_zeroed: bool = False
    is_kept: bool = True
    is_settled: bool = False


@final
class StaleGradients:
    """Of one optimizer, told by one of its parameters: before each update, had its gradient been cleared since the one before?

    It is looked at only in the first updates; for a loop that clears gradients, nothing is done from then on. What was
    seen is part of a checkpoint, so that a resumed run decides as an uninterrupted one does, at the same update.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._seen = _Seen()
        self._parameter: torch.Tensor | None = None
        self._hook: Any = None
        self._last: weakref.ref[torch.Tensor] | None = None

    @property
    def are_kept(self) -> bool:
        """Whether used gradients may still matter."""
        return self._seen.is_kept

    @property
    def become_zeros(self) -> bool:
        """Whether the loop fills used gradients with zeros, and does not leave None."""
        return not self._seen.is_kept and self._seen.is_zeroed

    def after_step(self) -> None:
        """The optimizer has made an update."""
        seen = self._seen
        if seen.is_settled:
            return
        if seen.watched is None:
            if script_reads_gradients():
                seen.is_settled = True
            else:
                self._choose()
            return
        assert self._parameter is not None
        self._look_at_sharded()
        self._last = _reference(self._parameter.grad)
        seen.is_kept = not (seen.is_cleared or self._parameter.grad is None)
        seen.num_updates, seen.is_cleared = seen.num_updates + 1, False
        if seen.is_kept or seen.num_updates >= _ENOUGH:
            seen.is_settled = True
            self.close()

    def _look_at_sharded(self) -> None:
        """FSDP adds to a gradient that it finds and makes one where it finds none, past autograd, whose hook never comes."""
        parameter = self._parameter
        if parameter is not None and is_sharded(parameter) and not self._seen.is_settled:
            before = None if self._last is None else self._last()
            self._seen.is_cleared |= parameter.grad is not before

    def get_state(self) -> dict[str, Any]:
        self._look_at_sharded()
        return asdict(self._seen)

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Continue to watch where another process was; of other parameters from the beginning."""
        self.close()
        seen = _Seen(**saved)
        self._seen = _Seen() if (seen.watched or 0) >= len(self._parameters()) else seen
        if self._seen.watched is not None and not self._seen.is_settled:
            self._watch(self._seen.watched)

    def close(self) -> None:
        """Watch no more."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _parameters(self) -> list[torch.Tensor]:
        return [each for group in self.optimizer.param_groups for each in group["params"]]

    def _choose(self) -> None:
        found = [
            (each.numel(), index)
            for index, each in enumerate(self._parameters())
            if each.grad is not None and each.requires_grad and each.is_leaf
        ]
        if found:
            _, self._seen.watched = min(found)
            self._watch(self._seen.watched)

    def _watch(self, index: int) -> None:
        self._parameter = parameter = self._parameters()[index]
        self._last = _reference(parameter.grad)

        def before_accumulation(_: torch.Tensor) -> None:
            seen = self._seen
            if not seen.is_cleared:  # in most loops there is no gradient to look at
                is_zeroed = parameter.grad is not None and _is_zero(parameter.grad)
                if is_zeroed or parameter.grad is None:
                    seen.is_cleared, seen.is_zeroed = True, is_zeroed

        before_accumulation.__torch_unserializable__ = True  # type: ignore[attr-defined]  # else torch.save warns of it
        is_frozen = (
            not parameter.requires_grad
        )  # as a discriminator is while its generator trains: torch takes no hook then
        if is_frozen:
            parameter.requires_grad_(True)
        self._hook = parameter.register_hook(before_accumulation)
        if is_frozen:
            parameter.requires_grad_(False)


def _reference(gradient: torch.Tensor | None) -> weakref.ref[torch.Tensor] | None:
    return None if gradient is None else weakref.ref(gradient)


def _is_zero(gradient: torch.Tensor) -> bool:
    if gradient.is_cuda and torch.cuda.is_current_stream_capturing():
        return False  # nothing can be read meanwhile
    with torch.no_grad():
        return not (gradient.coalesce().values() if gradient.is_sparse else gradient).any()
