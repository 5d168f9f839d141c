"""Keras 3: models, optimizers, metrics and seed generators by the values of their variables, on the torch and JAX backends.

Variables are matched by path (`dense/kernel`), and both sides must have the same ones: Keras itself ignores a name
that it does not know. A variable's array is saved as what the backend has, and can be restored under the other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from ... import paths
from ...records import Node, Object
from .._fit import Fit, Make
from .._walk import Walk, type_name
from .python import plan_entries

_KINDS = keras.layers.Layer, keras.optimizers.Optimizer, keras.metrics.Metric, keras.random.SeedGenerator


class _Holder:
    """What holds variables; a compiled model its optimizer's and its metrics' too."""

    name = "keras"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, _KINDS)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        state = {
            group: {
                name: walk.node(variable.value, walk.child(walk.child(path, group), name))
                for name, variable in variables.items()
            }
            for group, variables in _groups(value).items()
        }
        return Object(self.name, type_name(type(value)), state)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if taken is None:
            return fit.keep(live)
        groups = _groups(live)
        if groups.keys() != taken.state.keys():
            what = f"{sorted(taken.state)} were saved, the live one has {sorted(groups)}: was it compiled?"
            return fit.misfit(live, path, what)
        acts = [
            (variables[name], make)
            for group, variables in groups.items()
            for name, make in plan_entries(
                {name: variable.value for name, variable in variables.items()},
                taken.state[group],
                fit,
                paths.child(path, group),
            ).items()
        ]

        def act() -> Any:
            for variable, make in acts:
                before, made = variable.value, make()
                if made is not before:  # torch's were filled in place
                    variable.assign(made)
            return live

        return act


def _groups(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, keras.Model):
        variables = [value.state] if isinstance(value, keras.random.SeedGenerator) else value.variables
        return {"variables": _named(variables)}
    if hasattr(value, "jax_state_sync"):  # within an epoch the values are elsewhere
        value.jax_state_sync()
    groups = {"variables": [*value.trainable_variables, *value.non_trainable_variables]}
    if value.optimizer is not None:
        if value.built and not value.optimizer.built:
            value.optimizer.build(value.trainable_variables)
        groups |= {"optimizer": value.optimizer.variables, "metrics": value.metrics_variables}
    return {group: _named(variables) for group, variables in groups.items()}


def _named(variables: Iterable[Any]) -> dict[str, Any]:
    """Variables by path; of several with one path (layers that were given one name) the later ones are numbered."""
    named: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for variable in variables:
        counts[variable.path] = count = counts.get(variable.path, 0) + 1
        named[variable.path if count == 1 else f"{variable.path}:{count}"] = variable
    return named


ADAPTERS = (_Holder(),)
