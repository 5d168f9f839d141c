"""How many updates torch optimizers have made, and which gradients still wait for one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, final

import torch
from torch.optim import Optimizer

from .. import paths
from ..errors import StateMismatchError
from ..state.adapters.torch_nn import named_as_live
from ..state.adapters.torch_optim import inner_optimizers, laid_out_as
from .torch_watch.reach import reached


@final
class Updates:
    """Watches the optimizers in `objects`, and the parameters of their modules, in containers too; counts the updates of the first.

    A gradient is part of what comes next only while an accumulation is half done. After an update most
    loops leave the used gradients where they are; those are known by the version that they had when the
    optimizer was done with them, and are not saved.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self.count = 0
        self._used: dict[
            torch.Tensor, tuple[int, int]
        ] = {}  # by parameter: its gradient's address and version
        self._hooks: list[Any] = []
        self.follow(objects)

    def follow(self, objects: Mapping[str, Any]) -> None:
        """Watch these from now on, in place of those before; the count continues."""
        self.close()
        self._parameters = named_parameters(objects)
        self._optimizers = [each for _, each in reached(objects) if isinstance(each, Optimizer)]
        first = next((each for each in objects.values() if isinstance(each, Optimizer)), None)
        counting = None if first is None else _hooked(first)
        self.is_counting = counting is not None
        self._hooks = [
            hooked.register_step_post_hook(functools.partial(self._after_step, counts=hooked is counting))
            for each in self._optimizers
            if (hooked := _hooked(each)) is not None
        ]

    def _after_step(self, optimizer: Optimizer, *details: object, counts: bool) -> None:
        self.count += counts
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._used[parameter] = _version(parameter.grad)

    def resume(self, count: int, pending: Mapping[str, Any]) -> None:
        """Continue from what another process had counted, with the gradients that waited there.

        Raises:
            StateMismatchError: a gradient belongs to no parameter here; nothing was changed.
        """
        set_gradients(self._parameters, named_as_live(self._parameters, pending))
        self.count = count
        for optimizer in self._optimizers if count else ():
            # Else a schedule whose epoch has no update left would warn that it moves before the first one.
            optimizer._opt_called = True  # type: ignore[attr-defined]

    @property
    def pending(self) -> dict[str, Any]:
        """The gradients that wait for an update, by parameter path; live, not copies. A sparse one is in parts."""
        return {
            path: _taken(parameter.grad)
            for path, parameter in self._parameters.items()
            if parameter.grad is not None and self._used.get(parameter) != _version(parameter.grad)
        }

    def close(self) -> None:
        """Watch no more."""
        for hook in self._hooks:
            hook.remove()


def _hooked(optimizer: Optimizer) -> Optimizer | None:
    """Itself, or what it wraps: the one whose hooks torch calls when it steps; None if none is known."""
    if getattr(type(optimizer).step, "hooked", False) and hasattr(optimizer, "_optimizer_step_post_hooks"):
        return optimizer
    inside = (_hooked(each) for each in inner_optimizers(optimizer).values())
    return next((each for each in inside if each is not None), None)


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


def _taken(gradient: torch.Tensor) -> Any:
    if gradient.layout != torch.sparse_coo:
        return gradient
    parts = {"indices": gradient._indices(), "values": gradient._values()}
    return {**parts, "shape": list(gradient.shape), "is_coalesced": gradient.is_coalesced()}


def _shape(saved: Any) -> list[int]:
    return list(saved["shape"] if isinstance(saved, Mapping) else saved.shape)


def _gradient_of(parameter: torch.Tensor, saved: Any) -> torch.Tensor:
    if not isinstance(saved, Mapping):
        return laid_out_as(parameter, torch.as_tensor(saved).to(parameter, copy=True))
    indices, values = torch.as_tensor(saved["indices"]), torch.as_tensor(saved["values"])
    return torch.sparse_coo_tensor(
        indices.to(parameter.device, copy=True),
        values.to(parameter, copy=True),
        saved["shape"],
        is_coalesced=saved["is_coalesced"],
        check_invariants=True,
    )


def _version(gradient: torch.Tensor) -> tuple[int, int]:
    where = gradient._values() if gradient.layout == torch.sparse_coo else gradient
    return where.data_ptr(), gradient._version


def named_parameters(objects: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Every parameter of modules and optimizers once, under the first path that leads to it."""
    first_path: dict[torch.Tensor, str] = {}
    for name, each in reached(objects):
        match each:
            case torch.nn.Module():
                found = each.named_parameters()
            case Optimizer():
                listed = [parameter for group in each.param_groups for parameter in group["params"]]
                found = ((str(index), parameter) for index, parameter in enumerate(listed))
            case _:
                continue
        for inner, parameter in found:
            first_path.setdefault(parameter, paths.child(name, inner))
    return {path: parameter for parameter, path in first_path.items()}
