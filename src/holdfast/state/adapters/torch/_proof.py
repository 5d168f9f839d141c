"""Whether modules and tensors are in every respect what they were, but for the bytes: then a walk would find the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import torch
from torch import nn
from torch.optim import Optimizer

_DICTS: Final = ("_parameters", "_buffers", "_modules")
_OWN: Final = ("state_dict", "_save_to_state_dict", "get_extra_state", "named_modules")
"""Methods that decide what a module has; of a class with its own of these nothing can be proved."""


def facts_of(tensors: Iterable[torch.Tensor]) -> list[Any]:
    """All that a walk looks at in dense tensors."""
    return [
        (
            type(each),
            each.dtype,
            each.layout,
            each.device,
            each.data_ptr(),
            each.shape,
            each.stride(),
            each.is_neg(),
            each.requires_grad,
        )
        for each in tensors
    ]


def are_provable(values: Sequence[Any]) -> bool:
    """Whether `facts_of` says all of these: dense tensors of torch's own classes."""
    return all(
        type(each) in (torch.Tensor, nn.Parameter)
        and each.layout is torch.strided
        and not (each.is_nested or each.is_quantized or each.is_complex())
        for each in values
    )


def proof_of_module(module: nn.Module) -> Callable[[], bool] | None:
    """What proves that the same state would be found in it; None if that cannot be known."""
    modules = list(module.modules())
    namespaces = [vars(each) for each in modules]
    values = [*chain.from_iterable(each.values() for each in _dicts(namespaces))]
    tensors = [each for each in values if each is not None and not isinstance(each, nn.Module)]
    if not are_provable(tensors) or not _is_standard(modules, namespaces):
        return None

    def shape_of_tree() -> list[Any]:
        dicts = _dicts(namespaces)
        return [
            list(map(type, modules)),
            list(map(id, dicts)),
            list(map(len, dicts)),
            [*chain.from_iterable(dicts)],
            [*map(id, chain.from_iterable(each.values() for each in dicts))],
            [each.training for each in modules],
            [frozenset(each["_non_persistent_buffers_set"]) for each in namespaces],
        ]

    return _proof([*values, *modules], tensors, shape_of_tree, lambda: _is_standard(modules, namespaces))


def proof_of_optimizer(optimizer: Optimizer) -> Callable[[], bool] | None:
    """What proves that the same state would be found of each parameter; None if it has more than tensors."""
    state = optimizer.state
    values = [*chain.from_iterable(each.values() for each in state.values())]
    if not are_provable(values):
        return None

    def shape_of_state() -> list[Any]:
        entries = [*optimizer.state.values()]
        return [
            list(map(id, optimizer.state)),
            list(map(type, entries)),
            list(map(len, entries)),
            [*chain.from_iterable(entries)],
            [*map(id, chain.from_iterable(each.values() for each in entries))],
        ]

    return _proof([*values, *state], values, shape_of_state, lambda: True)


def _proof(
    kept: list[Any],
    tensors: list[torch.Tensor],
    shape: Callable[[], list[Any]],
    is_standard: Callable[[], bool],
) -> Callable[[], bool]:
    """Whether shape and tensors are as they are now. `kept` stays alive, so that ids stay their own."""
    then, facts = shape(), facts_of(tensors)

    def is_same() -> bool:
        return bool(kept) and is_standard() and shape() == then and facts_of(tensors) == facts

    return is_same


def _dicts(namespaces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each[name] for each in namespaces for name in _DICTS]


def _is_standard(modules: Sequence[nn.Module], namespaces: Sequence[dict[str, Any]]) -> bool:
    """Whether nobody but torch says what is in the state of each module: no hook, and no method of a class or an object."""
    return (
        all(
            getattr(kind, name) is getattr(nn.Module, name) for kind in {*map(type, modules)} for name in _OWN
        )
        and not any(each["_state_dict_hooks"] or each["_state_dict_pre_hooks"] for each in namespaces)
        and not any(name in each for each in namespaces for name in _OWN)
    )
