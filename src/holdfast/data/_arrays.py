"""Arrays that samplers keep in attributes, such as weights that follow the losses: the order of an epoch depends on them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np

_MOST_BYTES: Final = (
    16 << 20
)  # of one; a larger one is looked at when it has been assigned anew, not when it was written

Arrays = dict[str, dict[str, Any]]
"""By sampler and attribute."""


@final
class SamplerArrays:
    """The arrays and tensors of samplers; their state is those that have changed since this was made, or in a run before."""

    def __init__(self, samplers: Mapping[str, Any]) -> None:
        self._samplers = dict(samplers)
        self._first = self._copies()
        self._sticky = set[tuple[str, str]]()

    def get_state(self) -> Arrays:
        now, found = self._copies(), Arrays()
        for name, arrays in now.items():
            for attribute, array in arrays.items():
                first = self._first.get(name, {}).get(attribute)
                if (name, attribute) in self._sticky or not _is_same(array, first):
                    self._sticky.add((name, attribute))
                    found.setdefault(name, {})[attribute] = array
        return found

    def before(self, then: Mapping[str, Mapping[str, Any]], now: Arrays) -> Arrays:
        """What was the state `then`, with what has changed only since."""
        return {
            name: {
                attribute: then.get(name, {}).get(attribute, self._first.get(name, {}).get(attribute))
                for attribute in arrays
            }
            for name, arrays in now.items()
        }

    def set_state(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        for name, arrays in saved.items():
            for attribute, array in arrays.items():
                if name in self._samplers and array is not None:
                    self._sticky.add((name, attribute))
                    _put(self._samplers[name], attribute, array)

    def _copies(self) -> Arrays:
        return {
            name: {
                attribute: value.clone() if _is_tensor(value) else value.copy()
                for attribute, value in vars(sampler).items()
                if _is_array(value) and value.nbytes <= _MOST_BYTES
            }
            for name, sampler in self._samplers.items()
        }


def _put(sampler: Any, attribute: str, array: Any) -> None:
    live = vars(sampler).get(attribute)
    if not _is_tensor(live) and not isinstance(live, np.ndarray):
        vars(sampler)[attribute] = array
        return
    new: Any = sys.modules["torch"].as_tensor(array) if _is_tensor(live) else np.asarray(array)
    if live.shape == new.shape and live.dtype == new.dtype:
        live[...] = new
    else:
        vars(sampler)[attribute] = new.clone() if _is_tensor(new) else new.copy()


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_array(value: Any) -> bool:
    if _is_tensor(value):
        return value.layout == sys.modules["torch"].strided
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _is_same(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool((one == other).all())
