"""Keras 3: models, optimizers, metrics and seed generators by the values of their variables, on the torch and JAX backends.

Variables are matched by path (`dense/kernel`), and both sides must have the same ones: Keras itself ignores a name
that it does not know. A variable's array is saved as what the backend has, and can be restored under the other one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import keras
import numpy as np

from ... import paths
from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import type_name
from .._walk import Walk
from .python import plan_entries

_KINDS = keras.layers.Layer, keras.optimizers.Optimizer, keras.metrics.Metric, keras.random.SeedGenerator
_UNTRACKED = keras.optimizers.Optimizer, keras.metrics.Metric, keras.random.SeedGenerator
"""What a model has in its attributes and, but for what it was compiled with, not always among its variables."""
_TRACKERS = {"_tracker", "_metrics", "_seed_generators", "_layers", "_losses"}


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
        trained = {where: _trained_by(each) for where, each in held_by(value).items()}
        return Object(
            self.name, type_name(type(value)), state, {"trained": trained} if any(trained.values()) else {}
        )

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if taken is None:
            return fit.keep(live)
        _build(live, taken.about.get("trained", {}))
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
    optimizer = getattr(value, "optimizer", None)  # with torch, there is none before the model is compiled
    if optimizer is not None:
        if value.built and not optimizer.built:
            optimizer.build(value.trainable_variables)
        groups |= {"optimizer": optimizer.variables, "metrics": value.metrics_variables}
    elif value.metrics_variables:
        groups["metrics"] = value.metrics_variables
    taken = {id(variable) for variables in groups.values() for variable in variables}
    for where, held in held_by(value).items():
        variables = [held.state] if isinstance(held, keras.random.SeedGenerator) else held.variables
        if own := [variable for variable in variables if id(variable) not in taken]:
            groups[where] = own
    return {group: _named(variables) for group, variables in groups.items()}


def held_by(value: Any) -> dict[str, Any]:
    """What else holds variables, in the attributes of a model and its layers: optimizers of a `train_step` of its own, say."""
    if not isinstance(value, keras.Model):
        return {}
    known = [getattr(value, "optimizer", None), *value.metrics]
    found: dict[str, Any] = {}

    def look(where: str, each: Any) -> None:
        if isinstance(each, _UNTRACKED):
            if not any(each is one for one in (*known, *found.values())):
                found[where] = each
        elif isinstance(each, dict):
            for key, entry in each.items():
                look(f"{where}.{key}", entry)
        elif isinstance(each, list | tuple):
            for index, entry in enumerate(each):
                look(f"{where}.{index}", entry)

    for index, layer in enumerate(value._flatten_layers()):
        for name, each in vars(layer).items():
            if name not in _TRACKERS:
                look(name if layer is value else f"{layer.name}:{index}.{name}", each)
    return found


def saved_with(layer: Any) -> Iterator[Any]:
    """The objects and variables of Keras that a checkpoint of this model or layer holds, itself included."""
    yield from layer._flatten_layers()
    for each in (layer, *held_by(layer).values(), *getattr(layer, "metrics", ())):
        yield each
        yield from getattr(each, "variables", ())


@final
class KerasValues:
    """The values of the variables of one object of Keras, given and taken back as other objects do it."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def state_dict(self) -> dict[str, list[np.ndarray]]:
        """Their values, in order."""
        return {"values": [np.array(keras.ops.convert_to_numpy(each.value)) for each in self._variables]}

    def load_state_dict(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Assign them.

        Raises:
            ValueError: there are more or fewer of them, or of another shape; nothing was assigned.
        """
        variables, values = self._variables, [*map(np.asarray, state["values"])]
        now, then = [tuple(each.shape) for each in variables], [each.shape for each in values]
        if now != then:
            raise ValueError(f"its variables were of the shapes {then}, and are of {now} now")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    @property
    def _variables(self) -> list[Any]:
        match self._held:
            case keras.Variable():
                return [self._held]
            case keras.random.SeedGenerator():
                return [self._held.state]
            case _:
                return list(self._held.variables)


def _trained_by(held: Any) -> list[str]:
    """The paths of the variables that an optimizer has been built for."""
    return [each.path for each in getattr(held, "_trainable_variables", ())]


def _build(value: Any, trained: dict[str, list[str]]) -> None:
    """Give optimizers, which Keras builds at their first step, the variables that they had."""
    held = held_by(value) if trained else {}
    if not held:
        return
    variables = _named(value.variables)
    for where, names in trained.items():
        optimizer: Any = held.get(where)
        is_new = isinstance(optimizer, keras.optimizers.Optimizer) and not optimizer.built
        if is_new and names and all(name in variables for name in names):
            optimizer.build([variables[name] for name in names])


def _named(variables: Iterable[Any]) -> dict[str, Any]:
    """Variables by path; of several with one path (layers that were given one name) the later ones are numbered."""
    named: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for variable in variables:
        counts[variable.path] = count = counts.get(variable.path, 0) + 1
        named[variable.path if count == 1 else f"{variable.path}:{count}"] = variable
    return named


ADAPTERS = (_Holder(),)
