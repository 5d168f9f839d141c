"""Optimizers whose class overrides `state_dict`: most of them wrap another, in which all that matters is.

What such a class returns is saved as it is, and its own `load_state_dict` gets it back. Most of these go by position;
so the names of the parameters, in order, are saved with it. What a wrapper and the optimizers inside it hold is saved too,
by name: a `state_dict` may leave some of it out, and torch's loader casts it. Arrays that are in both are stored once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from .... import paths
from ....records import Node, Object
from ..._exclude import all_left_out
from ..._fit import Fit, Make
from ..._kinds import type_name
from ..._walk import Walk
from .kept import changed_by, inexact, plan_kept
from .optimizers import TorchOptimizer, has_own_state, inner_optimizers, lay_out, parameter_names

_OWN = "own"


class _OwnState(TorchOptimizer):
    def claims(self, kind: type) -> bool:
        return has_own_state(kind)

    def take(
        self, value: Optimizer, walk: Walk, path: str, state: dict[str, Node], about: dict[str, Any]
    ) -> None:
        names = parameter_names(value, walk.names, path)
        try:
            own = value.state_dict()
        except Exception as err:
            kind = type_name(type(value))
            walk.refuse(path, kind, f"Its own state_dict() failed: {type(err).__name__}: {err}")
        state[_OWN] = walk.node(_without_tensors_as_keys(own, names), walk.child(path, _OWN))
        if inner_optimizers(value):
            super().take(value, walk, path, state, about)
        elif kept := changed_by(value):
            state["kept"] = walk.node(kept, walk.child(path, "kept"))
        about |= inexact(value)
        about["parameters"] = [[name, list(parameter.shape)] for parameter, name in names.items()]

    def plan(self, live: Optimizer, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if taken is None:
            return fit.keep(live)
        if _OWN not in taken.state:  # saved without its own
            return super().plan(live, node, fit, path)
        return fit.put_off(lambda: self._plan_own(live, taken, fit, path))

    def _plan_own(self, live: Optimizer, taken: Object, fit: Fit, path: str) -> Make:
        names = parameter_names(live, fit.names, path)
        if not _is_alike(names, taken.about.get("parameters", []), fit, path):
            return fit.keep(live)
        saved = taken.state[_OWN]
        if (left := next(all_left_out(saved), None)) is not None:  # its loader takes all or nothing
            return fit.left_out(live, paths.child(paths.child(path, _OWN), left) if left else path)
        make = fit.replace({}, saved, paths.child(path, _OWN))
        put_held = self._plan(live, taken, fit, path) if "param_groups" in taken.state else fit.keep(live)
        kept = (
            {}
            if "param_groups" in taken.state
            else plan_kept(live, taken.state.get("kept", {}), fit, paths.child(path, "kept"))
        )
        parameters = {_key(name): parameter for parameter, name in names.items()}

        def act() -> Optimizer:
            live.load_state_dict(_with_tensors_as_keys(make(), live.state_dict(), parameters))
            made = put_held()
            for name, make_kept in kept.items():
                vars(live)[name] = make_kept()
            lay_out(live)
            return made

        return act


def _is_alike(names: Mapping[torch.Tensor, str], saved: Any, fit: Fit, path: str) -> bool:
    """Whether these are the parameters whose state was saved, in that order, as far as both sides have names for them."""
    here = [[name, list(parameter.shape)] for parameter, name in names.items()]
    if len(here) != len(saved):
        fit.problem(path, f"it was saved with {len(saved)} parameters, the live one has {len(here)}")
        return False
    for index, ((name, shape), (saved_name, saved_shape)) in enumerate(zip(here, saved, strict=True)):
        is_named = not (name.isdigit() or saved_name.isdigit())
        if (is_named and name != saved_name) or shape != list(saved_shape):
            what = f"parameter {index} was {saved_name!r} {saved_shape}, and is {name!r} {shape}"
            fit.problem(path, f"{what}; its own load_state_dict goes by position")
            return False
    return True


def _key(name: str) -> str:
    return f"parameter {name}"


def _without_tensors_as_keys(value: Any, names: Mapping[torch.Tensor, str]) -> Any:
    """Parameters as keys are replaced by their names; whatever else cannot be one is refused later."""
    if not isinstance(value, dict):
        return value
    return {
        _key(names[key]) if isinstance(key, torch.Tensor) and key in names else key: _without_tensors_as_keys(
            entry, names
        )
        for key, entry in value.items()
    }


def _with_tensors_as_keys(saved: Any, live: Any, parameters: Mapping[str, torch.Tensor]) -> Any:
    """The other way round; where the live state has a `defaultdict`, it gets one."""
    if not isinstance(saved, dict):
        return saved
    given = {parameters.get(key, key): entry for key, entry in saved.items()}
    like = live if isinstance(live, dict) else {}
    entries = {key: _with_tensors_as_keys(entry, like.get(key), parameters) for key, entry in given.items()}
    return defaultdict(like.default_factory, entries) if isinstance(like, defaultdict) else entries


ADAPTERS = (_OwnState(),)
