"""What an optimizer of a class that is not torch's keeps beside its state: counters, master copies, a generator of its own.

Numbers and texts count once they have changed, so that a setting stays the script's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.optim import Optimizer

from .... import paths, rng
from ....records import Node
from ..._fit import Fit, Make

_TORCHS_OWN: Final = frozenset(
    {
        "defaults",
        "param_groups",
        "state",
        "_opt_called",
        "_warned_capturable_if_run_uncaptured",
        "_zero_grad_profile_name",
    }
)
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, np.generic)
_at_first: WeakKeyDictionary[Optimizer, dict[str, Any]] = WeakKeyDictionary()
"""The settings of those that were met before their first step."""


def changed_by(optimizer: Optimizer) -> dict[str, Any]:
    """The attributes that are data, live; of those that can be settings only what has changed."""
    found = _kept_by(optimizer)
    if optimizer not in _at_first:
        is_new = not optimizer.state
        _at_first[optimizer] = (
            {name: each for name, each in found.items() if _is_setting(each)} if is_new else {}
        )
    first = _at_first[optimizer]
    return {
        name: each
        for name, each in found.items()
        if name not in first or not _is_setting(each) or repr(each) != repr(first[name])
    }


def inexact(optimizer: Optimizer) -> dict[str, str]:
    """What `about` says of attributes that would mean nothing in another process: those by `id()` of a parameter."""
    ids = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    names = [name for name, value in vars(optimizer).items() if _is_by_id(value, ids)]
    why = f"what it keeps by id() of a parameter ({', '.join(names)}) is not saved; keep it in self.state[parameter]"
    return {"inexact": why} if names else {}


def _is_by_id(value: Any, ids: Set[int]) -> bool:
    return isinstance(value, dict) and any(type(key) is int and key in ids for key in value)


def plan_kept(live: Optimizer, saved: Node, fit: Fit, path: str) -> dict[str, Make]:
    """Arrays and generators that are there are filled, other values replaced; what had not changed is what it was at first."""
    if not isinstance(saved, dict):
        return {}
    here = changed_by(live)
    back = {
        name: each for name, each in _at_first.get(live, {}).items() if name in here and name not in saved
    }
    return {
        **{name: (lambda value=value: value) for name, value in back.items()},
        **{
            name: fit.into(here[name], node, paths.child(path, name)) if name in here else fit.fresh(node)
            for name, node in saved.items()
        },
    }


def _kept_by(optimizer: Optimizer) -> dict[str, Any]:
    if type(optimizer).__module__.startswith("torch."):
        return {}
    ids = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {
        name: value
        for name, value in vars(optimizer).items()
        if name not in _TORCHS_OWN
        and not name.startswith("_optimizer_")
        and _is_data(value)
        and not _is_by_id(value, ids)
    }


def _is_data(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not isinstance(value, torch.nn.Parameter) and not value.requires_grad
    if isinstance(value, dict):
        return all(type(key) in (str, int, float) and _is_data(each) for key, each in value.items())
    if isinstance(value, list | tuple | deque | set):
        return all(map(_is_data, value))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    return type(value) in _PLAIN or isinstance(value, np.generic) or rng.is_generator(value)


def _is_setting(value: Any) -> bool:
    return type(value) in _PLAIN or (isinstance(value, tuple) and all(map(_is_setting, value)))
