"""Layers of Keras that a script freezes, or lets learn, in mid-run: named, as Keras asks for the model to be compiled again then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

from .._kinds import CONTAINERS, is_of_keras, items_of


@final
class Trainable:
    """Which of them have changed since `begin`."""

    def __init__(self) -> None:
        self._began: dict[str, bool] | None = None

    def begin(self, objects: Mapping[str, Any]) -> None:
        """The loop begins, with these objects of the run; of another one within it nothing is to be known."""
        if self._began is None:
            self._began = dict(_flags(objects))

    def changed(self, objects: Mapping[str, Any], run: str) -> dict[str, str]:
        """A sentence for each layer that is not as it was, by the name under which it can be ignored (`{run}ignore`)."""
        began = self._began or {}
        keys = [key for key, flag in _flags(objects) if flag != began.get(key, flag)]
        return {key: _sentence(key, run) for key in keys}


def _flags(objects: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, each in objects.items():
        held = items_of(each) if isinstance(each, CONTAINERS) and len(each) <= 64 else [("", each)]
        for key, value in held:
            flatten = getattr(value, "_flatten_layers", None) if is_of_keras(value) else None
            for layer in flatten() if flatten is not None else ():
                inside = "" if layer is value else f".{layer.name}"
                yield f"{name}{'.' if key != '' else ''}{key}{inside}.trainable", bool(layer.trainable)


def _sentence(key: str, run: str) -> str:
    return (
        f"{key} has changed since the loop began, and is not saved: a resume has what the script's beginning sets. Set it before the "
        f"loop, with a variable that says when; {run}ignore({key!r}) if it decides nothing"
    )
