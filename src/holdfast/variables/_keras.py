"""Keras's metrics, layers, seed generators and variables, whose values no attribute shows and no protocol gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np


@final
class KerasValues:
    """The values of the variables of one object of Keras, given and taken back as other objects do it."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def state_dict(self) -> dict[str, list[np.ndarray]]:
        """Their values, in order."""
        read = _keras().ops.convert_to_numpy
        return {"values": [np.array(read(each.value)) for each in self._variables]}

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
        keras = _keras()
        if isinstance(self._held, keras.Variable):
            return [self._held]
        if isinstance(self._held, keras.random.SeedGenerator):
            return [self._held.state]
        return list(self._held.variables)


def is_of_keras(value: Any) -> bool:
    """Whether it keeps what it has learned or counted in variables of Keras; an optimizer is looked for where it works."""
    keras = _keras()
    return keras is not None and isinstance(
        value, keras.Variable | keras.metrics.Metric | keras.layers.Layer | keras.random.SeedGenerator
    )


def saved_with(value: Any) -> Iterator[Any]:
    """What of Keras is saved along with a model or layer; nothing for all else."""
    keras = _keras()
    if keras is None or not isinstance(value, keras.layers.Layer):
        return
    from ..state.adapters.keras import held_by

    yield from value._flatten_layers()
    held = [*held_by(value).values(), *getattr(value, "metrics", ())]
    for each in (value, *held):
        yield each
        yield from getattr(each, "variables", ())


def _keras() -> Any:
    """Keras, if the script has imported it, and entirely."""
    found = sys.modules.get("keras")
    return found if hasattr(found, "random") and hasattr(found, "Variable") else None
