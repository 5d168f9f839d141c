"""What is at work along with a run and was not handed over: optimizers, schedules, scalers, and parameters of other modules.

A run cannot save what it does not have; after a resume that starts from scratch, and nothing that is restored tells of it. But torch
knows what is at work: it calls a hook whenever any optimizer steps, and marks those that a schedule drives.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, final
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_post_hook

from ... import rng, state
from ...errors import HoldfastError
from ...state.adapters.torch import address_of, local_of
from ...state.adapters.torch_optim import inner_optimizers
from .reach import reached

_STEPS_LOOKED_AT: Final = 3  # of each optimizer, for a scaler that calls it
_FRAMES_LOOKED_AT: Final = 8
_SCALING: Final = {GradScaler.step.__code__, GradScaler._maybe_opt_step.__code__}  # pyright: ignore[reportFunctionMemberAccess]


@final
class AtWork:
    """Finds what is at work in this thread, from now until `close`, and is in none of the `objects` of the run.

    An optimizer is one of the run's if it is among the objects, inside another one, or an attribute of one that saves
    itself. One that lives between two hooks only (for a probe, say) is none of the run's affair.

    Args:
        variables: what else is saved with the run: variables of the script.
    """

    def __init__(
        self,
        objects: Callable[[], Mapping[str, Any]],
        variables: Callable[[], Mapping[str, Any]] = dict[str, Any],
    ) -> None:
        self._objects, self._variables = objects, variables
        self._thread = threading.get_ident()
        self._turn = 0
        self._seen_in: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()
        self._num_steps: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()
        self._looked_at: set[int] = set()  # ids of those of the run's own whose first steps are over
        self._strangers: WeakSet[Optimizer] = WeakSet()
        self._scalers: WeakSet[GradScaler] = WeakSet()
        self._undriven: WeakSet[Optimizer] = WeakSet()
        self._has_met = False  # an optimizer or a scaler that is none of the run's
        self._found: dict[str, None] = {}
        self._own = _Own(objects(), {})
        self._handle = register_optimizer_step_post_hook(self._after_step)

    def close(self) -> None:
        """Watch no more."""
        self._handle.remove()

    def look(self, *, closely: bool = False) -> list[str]:
        """The run is at a hook: a sentence for each thing that was found since; `closely`: parameters too.

        What is looked at in each step costs microseconds; parameters, a walk through all objects.
        """
        self._turn += 1
        if closely:
            self._undriven.clear()
        elif not self._has_met and not any(map(_is_scheduled, self._own.optimizers.values())):
            return []  # as in almost every step
        is_marked = any(map(_is_scheduled, self._own.optimizers.values()))
        if closely or self._strangers or self._scalers or (is_marked and not self._own.is_scheduled):
            self._own = _Own(self._objects(), self._variables())
            self._looked_at.clear()  # whose ids may be others' now
        found = [*self._schedules(), *self._others()]
        if closely:
            found += _foreign_parameters(self._own.optimizers, {**self._variables(), **self._objects()})
        new = [each for each in found if each not in self._found]
        self._found |= dict.fromkeys(new)
        return new

    @property
    def found(self) -> Sequence[str]:
        """All that was found so far."""
        return list(self._found)

    def _schedules(self) -> Iterator[str]:
        for name, optimizer in self._own.optimizers.items():
            if (
                _is_scheduled(optimizer)
                and id(optimizer) not in self._own.scheduled
                and self._is_driven(optimizer)
            ):
                yield f"a schedule drives {name!r} and is not in the run"

    def _is_driven(self, optimizer: Optimizer) -> bool:
        """Whether the schedule is still there: that of a finder of learning rates has left its mark only."""
        if optimizer in self._undriven:
            return False
        gc.collect()
        schedules = [
            each for each in gc.get_objects() if issubclass(type(each), LRScheduler)
        ]  # which asks none of them
        if any(vars(each).get("optimizer") is optimizer for each in schedules):
            return True
        self._undriven.add(optimizer)
        return False

    def _others(self) -> Iterator[str]:
        for optimizer in self._strangers:
            if id(optimizer) not in self._own.ids:
                yield f"an optimizer ({type(optimizer).__name__}) trains and is not in the run"
        for scaler in self._scalers:
            if id(scaler) not in self._own.ids:
                yield f"a {type(scaler).__name__} scales the gradients and is not in the run"

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        if id(optimizer) in self._looked_at or threading.get_ident() != self._thread:
            return
        num_steps = self._num_steps.get(optimizer, 0)
        if id(optimizer) in self._own.ids:
            if num_steps == _STEPS_LOOKED_AT:
                self._looked_at.add(id(optimizer))
                return
            self._num_steps[optimizer] = num_steps + 1
            if (scaler := _scaler_above()) is not None and id(scaler) not in self._own.ids:
                self._scalers.add(scaler)
                self._has_met = True
        elif num_steps == 0 and self._seen_in.setdefault(optimizer, self._turn) < self._turn:
            self._strangers.add(optimizer)
            self._has_met = True


class _Own:
    """What the objects of a run hold: by name the optimizers, and the ids of all things that may be at work.

    Attributes:
        scheduled: ids of optimizers whose schedule is there.
    """

    def __init__(self, objects: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self.optimizers: dict[str, Optimizer] = {}  # of the objects: what others do is their affair
        self.ids: set[int] = set()
        self.scheduled: set[int] = set()
        self._kept: list[Any] = []  # so that ids stay their own
        for name, each in reached(objects):
            if isinstance(each, Optimizer):
                self.optimizers[name] = each
            self._add(each)
        for _, each in reached(variables):
            self._add(each)
        self.is_scheduled = {id(each) for each in self.optimizers.values()} <= self.scheduled

    def _add(self, value: Any) -> None:
        parts = _with_inner(value) if isinstance(value, Optimizer) else [value]
        for each in parts:
            self._kept.append(each)
            self.ids.add(id(each))
        if isinstance(value, LRScheduler):
            self.scheduled |= {id(each) for each in _with_inner(value.optimizer)}


def _with_inner(optimizer: Optimizer) -> Iterator[Optimizer]:
    yield optimizer
    for each in inner_optimizers(optimizer).values():
        yield from _with_inner(each)


def _is_scheduled(optimizer: Optimizer) -> bool:
    return hasattr(vars(optimizer).get("step"), "_wrapped_by_lr_sched")


def _scaler_above() -> GradScaler | None:
    """The scaler that calls the optimizer whose step has just been made."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES_LOOKED_AT):
        if frame is None:
            return None
        if frame.f_code in _SCALING:
            scaler = frame.f_locals["self"]
            return scaler if scaler.is_enabled() else None
        frame = frame.f_back
    return None


def _foreign_parameters(optimizers: Mapping[str, Optimizer], objects: Mapping[str, Any]) -> Iterator[str]:
    held = _memory_of(objects)
    if held is None:
        return
    for name, optimizer in optimizers.items():
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        foreign = [each for each in parameters if local_of(each).numel() and address_of(each) not in held]
        if foreign:
            shapes = ", ".join(str(list(each.shape)) for each in foreign[:3])
            more = ", …" if len(foreign) > 3 else ""
            yield f"{name!r} trains parameters that no object of the run holds: {len(foreign)}, of shape {shapes}{more}"


def _memory_of(objects: Mapping[str, Any]) -> set[int] | None:
    """Where the arrays of all objects begin; None if they cannot be looked at."""
    walk = state.Walk(with_boxes=True)
    looked_at = {
        name: each
        for name, each in objects.items()
        if isinstance(each, torch.nn.Module | torch.Tensor | dict | list | tuple)
        or not hasattr(type(each), "__iter__")
    }
    try:
        with rng.preserved():
            walk.run(looked_at, "")
    except HoldfastError:
        return None
    return {live.span().start for live in (*(live for _, live in walk.arrays), *walk.tied)}
