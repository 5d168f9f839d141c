"""How many updates torch optimizers have made, and which gradients still wait for one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, final

import torch
from torch.optim import Optimizer

from .. import paths
from ..errors import StateMismatchError
from ..state.adapters.torch import is_sharded, local_of, spread_as, version_of
from ..state.adapters.torch_nn import named_as_live
from ..state.adapters.torch_optim import inner_optimizers, laid_out_as
from .torch_watch.reach import reached
from .torch_watch.stale_gradients import StaleGradients

_FRAMES_LOOKED_AT: Final = 8


@final
class Updates:
    """Watches the optimizers in `objects`, and the parameters of their modules, in containers too; counts the updates of the first.

    A gradient is part of what comes next while an accumulation is half done. After an update most
    loops leave the used gradients where they are; those are known by the version that they had when the
    optimizer was done with them, and are not saved, unless the loop is seen to use them again.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self.count = 0
        self._used: dict[
            torch.Tensor, tuple[int, int]
        ] = {}  # by parameter: its gradient's address and version
        self._hooks: list[Any] = []
        self._stale: dict[str, StaleGradients] = {}
        self.follow(objects)

    def follow(self, objects: Mapping[str, Any]) -> None:
        """Watch these from now on, in place of those before; the count continues."""
        before, self._stale = self._stale, {}
        for each in self._hooks:
            each.remove()
        self._parameters = named_parameters(objects)
        self._optimizers = {name: each for name, each in reached(objects) if isinstance(each, Optimizer)}
        first = next((each for each in objects.values() if isinstance(each, Optimizer)), None)
        counting = None if first is None else _hooked(first)
        self.is_counting = counting is not None
        self._hooks = []
        for name, each in self._optimizers.items():
            if (hooked := _hooked(each)) is None:
                continue
            stale = before.get(name)
            if stale is None or stale.optimizer is not hooked:
                stale = StaleGradients(hooked)
            self._stale[name] = stale
            self._hooks.append(
                hooked.register_step_post_hook(
                    functools.partial(self._after_step, stale=stale, counts=hooked is counting)
                )
            )
        for each in before.values():
            if each not in self._stale.values():
                each.close()

    def _after_step(
        self, optimizer: Optimizer, *details: object, stale: StaleGradients, counts: bool
    ) -> None:
        if _may_step_within_step(type(optimizer)) and _is_within_another_step(optimizer):
            return
        self.count += counts
        stale.after_step()
        used, is_kept = self._used, stale.are_kept
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                gradient = None if is_kept else parameter.grad
                if gradient is None:
                    used.pop(parameter, None)
                elif gradient.is_sparse or is_sharded(gradient):
                    used[parameter] = _version(gradient)
                else:
                    used[parameter] = gradient.data_ptr(), gradient._version

    def resume(self, count: int, pending: Mapping[str, Any], seen: Mapping[str, Any]) -> None:
        """Continue from what another process had counted, with the gradients that waited there, and what it had `seen`.

        Raises:
            StateMismatchError: a gradient belongs to no parameter here; nothing was changed.
        """
        set_gradients(self._parameters, named_as_live(self._parameters, pending))
        self.count = count
        for name, stale in self._stale.items():
            if (saved := seen.get("optimizers", {}).get(name)) is not None:
                stale.set_state(saved)
        for path in seen.get("zeroed", ()):
            if (parameter := self._parameters.get(path)) is not None and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
                self._used[parameter] = _version(parameter.grad)
        if count:
            let_schedules_move(self._optimizers.values())

    @property
    def seen(self) -> dict[str, Any]:
        """What was seen of how the loop clears gradients: by optimizer, and the used ones that it will fill with zeros."""
        zeroed = {
            parameter
            for stale in self._stale.values()
            if stale.become_zeros
            for group in stale.optimizer.param_groups
            for parameter in group["params"]
        }
        used = [
            path
            for path, parameter in self._parameters.items()
            if parameter in zeroed and parameter.grad is not None and self._is_used(parameter)
        ]
        optimizers = {name: stale.get_state() for name, stale in self._stale.items()}
        return {"optimizers": optimizers, "zeroed": used}

    @property
    def pending(self) -> dict[str, Any]:
        """The gradients that wait for an update, by parameter path; live, not copies. A sparse one is in parts; of one
        that several processes have, this one's part."""
        return {
            path: _taken(parameter.grad, parameter)
            for path, parameter in self._parameters.items()
            if parameter.grad is not None and not self._is_used(parameter)
        }

    def _is_used(self, parameter: torch.Tensor) -> bool:
        return self._used.get(parameter) == _version(parameter.grad)

    def close(self) -> None:
        """Watch no more."""
        for hook in self._hooks:
            hook.remove()
        for each in self._stale.values():
            each.close()


def _hooked(optimizer: Optimizer) -> Optimizer | None:
    """Itself, or what it wraps: the one whose hooks torch calls when it steps; None if none is known."""
    if hasattr(optimizer, "_optimizer_step_post_hooks") and hasattr(optimizer, "_optimizer_step_pre_hooks"):
        if type(optimizer).zero_grad is Optimizer.zero_grad:
            # Which replaces the class's step, for one that was made without `Optimizer.__init__`: in mid-run that would
            # look like a change of the script's, and the first step would be without hooks.
            optimizer._patch_step_function()
        if getattr(type(optimizer).step, "hooked", False):
            return optimizer
    inside = (_hooked(each) for each in inner_optimizers(optimizer).values())
    return next((each for each in inside if each is not None), None)


@functools.cache
def _may_step_within_step(kind: type[Optimizer]) -> bool:
    """Whether one class of an optimizer may call another's step."""
    return sum("step" in vars(each) for each in kind.__mro__ if each is not Optimizer) > 1


def _is_within_another_step(optimizer: Optimizer) -> bool:
    """Whether the step that has just been made was called by the optimizer's own: torch calls the hooks for both."""
    step: Any = type(optimizer).step
    frame, left = sys._getframe(2), _FRAMES_LOOKED_AT  # that of torch around the step, which calls us
    while (frame := frame.f_back) is not None and (left := left - 1):
        if frame.f_code is step.__code__ and frame.f_locals.get("self") is optimizer:
            return True
    return False


def let_schedules_move(optimizers: Iterable[Any]) -> None:
    """These have made updates in another process: a schedule whose epoch has none left would warn that it moves before the first one."""
    for optimizer in optimizers:
        optimizer._opt_called = True


def set_gradients(parameters: Mapping[str, torch.Tensor], saved: Mapping[str, Any]) -> None:
    """Put copies of saved gradients, by parameter path, back; the other parameters have none afterwards.

    Raises:
        StateMismatchError: a gradient belongs to no parameter here; nothing was changed.
    """
    problems = [
        f"there is no parameter {path!r} of shape {_shape(gradient)} for the saved gradient"
        for path, gradient in saved.items()
        if path not in parameters or list(parameters[path].shape) != _shape(gradient)
    ]
    if problems:
        raise StateMismatchError(problems)
    for path, parameter in parameters.items():
        gradient = saved.get(path)
        parameter.grad = None if gradient is None else _gradient_of(parameter, gradient)


def _taken(gradient: Any, parameter: Any) -> Any:
    if is_sharded(gradient) and is_sharded(parameter) and gradient.placements == parameter.placements:
        return {"local": local_of(gradient), "shape": list(gradient.shape)}
    if gradient.layout != torch.sparse_coo:
        return gradient
    parts = {"indices": gradient._indices(), "values": gradient._values()}
    return {**parts, "shape": list(gradient.shape), "is_coalesced": gradient.is_coalesced()}


def _shape(saved: Any) -> list[int]:
    return list(saved["shape"] if isinstance(saved, Mapping) else saved.shape)


def _gradient_of(parameter: torch.Tensor, saved: Any) -> torch.Tensor:
    if not isinstance(saved, Mapping):
        return laid_out_as(parameter, torch.as_tensor(saved).to(parameter, copy=True))
    if "local" in saved:
        return spread_as(parameter, torch.as_tensor(saved["local"]))
    indices, values = torch.as_tensor(saved["indices"]), torch.as_tensor(saved["values"])
    return torch.sparse_coo_tensor(
        indices.to(parameter.device, copy=True),
        values.to(parameter, copy=True),
        saved["shape"],
        is_coalesced=saved["is_coalesced"],
        check_invariants=True,
    )


def _version(gradient: Any) -> tuple[int, int]:
    where = gradient._values() if gradient.layout == torch.sparse_coo else local_of(gradient)
    return where.data_ptr(), version_of(gradient)


def named_parameters(objects: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Every parameter of modules and optimizers, and every leaf that learns, once: under the first path that leads to it."""
    first_path: dict[torch.Tensor, str] = {}
    for name, each in reached(objects):
        match each:
            case torch.nn.Module():
                found = each.named_parameters()
            case Optimizer():
                listed = [parameter for group in each.param_groups for parameter in group["params"]]
                found = ((str(index), parameter) for index, parameter in enumerate(listed))
            case torch.Tensor() if each.requires_grad and each.is_leaf:
                first_path.setdefault(each, name)
                continue
            case _:
                continue
        for inner, parameter in found:
            first_path.setdefault(parameter, paths.child(name, inner))
    return {path: parameter for parameter, path in first_path.items()}
