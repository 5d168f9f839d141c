"""Every place where ModularML is touched: its methods, wrapped, until they are put back.

Each is a public class of ModularML with the name of its method and what is called around it. Private names
are tested for each version that is known.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from modularml.core.experiment.checkpointing import Checkpointing as Theirs
from modularml.core.experiment.experiment import Experiment

from . import _holds as holds
from . import _patching_experiment as of_experiment
from . import _patching_training as of_training
from ._policies import ASKED, policy_behind
from ._sessions import Settings

SEAMS = (*of_experiment.SEAMS, *of_training.SEAMS)
_originals: list[tuple[type, str, Any]] = []


def switch_on(wanted: Settings) -> None:
    """Wrap the methods, if they are not yet, and hold experiments as `wanted` says."""
    if not holds.is_on():
        for owner, name, around in SEAMS:
            _wrap(owner, name, around)
        for name in ASKED:
            _put(Theirs, name, _asking(name))
        _put(Theirs, "saved_keys", property(lambda given: policy_behind(given).saved_keys))
        _put(Experiment, "available_checkpoints", property(of_experiment.available))
    holds.begin(wanted)


def switch_off() -> None:
    """Put every method back, and let go of all experiments."""
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)
    holds.end()


def _put(owner: type, name: str, value: Any) -> None:
    _originals.append((owner, name, vars(owner)[name]))
    setattr(owner, name, value)


def _wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    found = vars(owner)[name]
    of_class = isinstance(found, classmethod)
    original = found.__func__ if of_class else found

    @functools.wraps(original)
    def wrapper(*args: Any, **options: Any) -> Any:
        return around(original, *args, **options)

    _put(owner, name, classmethod(wrapper) if of_class else wrapper)


def _asking(name: str) -> Callable[..., Any]:
    original = vars(Theirs)[name]

    @functools.wraps(original)
    def asking(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(policy_behind(self), name)(*args, **options)

    return asking
