"""Which experiment is held, by which `Held`, while Holdfast is switched on."""

# pyright: reportMissingImports=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from modularml.core.experiment.experiment_context import ExperimentContext

from ._run import Held
from ._sessions import Settings, close_all

_settings: Settings | None = None
_held: WeakKeyDictionary[Any, Held] = WeakKeyDictionary()


def is_on() -> bool:
    return _settings is not None


def begin(settings: Settings) -> None:
    """From now on experiments are held as `settings` say; those that are held already stay as they are."""
    global _settings
    _settings = settings


def end() -> None:
    """Let go of all experiments and their directories."""
    global _settings
    _settings = None
    close_all()
    _held.clear()


def held_by(experiment: Any) -> Held | None:
    return _held.get(experiment)


def hold(experiment: Any) -> Held:
    if experiment not in _held:
        assert _settings is not None
        _held[experiment] = Held(experiment, _settings)
    return _held[experiment]


def active(below: Any = None) -> Held | None:
    """Of the experiment that runs: what is below it does not know it."""
    experiment = ExperimentContext.get_active().get_experiment()
    return None if experiment is None else _held.get(experiment)


def if_held(
    around: Callable[..., Any], held_of: Callable[[Any], Held | None] = held_by
) -> Callable[..., Any]:
    """`around(held, call, self, …)` in place of a method whose experiment is held; of others the method itself.

    `call` is the original method, with the arguments that it was given.
    """

    def seam(original: Callable[..., Any], self: Any, *args: Any, **options: Any) -> Any:
        held = held_of(self)
        call = functools.partial(original, self, *args, **options)
        return call() if held is None else around(held, call, self, *args, **options)

    return seam
