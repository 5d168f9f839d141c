"""The other callbacks of a training: what of their attributes, data all of them, training has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, final

import numpy as np

from ... import state


@final
class Siblings:
    """Callbacks by name. What the script has set and training has not changed (a patience, a path) is not saved.

    Args:
        is_left: whether an attribute, of a callback and by its name, is somebody else's.
        counters: names of attributes that only count: nobody misses them with a callback that is not here.
        chosen: by name what an attribute may be besides data, such as an order that a callback has chosen.
    """

    def __init__(
        self,
        callbacks: Mapping[str, Any],
        is_left: Callable[[Any, str], bool],
        *,
        counters: Collection[str] = (),
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        self._callbacks, self._is_left, self._counters = dict(callbacks), is_left, frozenset(counters)
        self._chosen = dict(chosen or {})
        self._absent: dict[str, dict[str, Any]] = {}
        self._at_start = self._digests()

    def take(self) -> dict[str, dict[str, Any]]:
        """Their changed attributes."""
        taken = {
            name: {
                key: self._taken(vars(self._callbacks[name])[key])
                for key, digest in digests.items()
                if self._at_start[name].get(key) != digest
            }
            for name, digests in self._digests().items()
        }
        return {name: changed for name, changed in taken.items() if changed} | self._absent

    def put(self, taken: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Set them; returns a sentence for each callback that is not here any more, and did more than count."""
        self._absent = {name: dict(each) for name, each in taken.items() if name not in self._callbacks}
        for name, changed in taken.items():
            if name in self._callbacks:
                vars(self._callbacks[name]).update({key: self._given(each) for key, each in changed.items()})
        return [
            f"a callback {name} had a state in the checkpoint, and is not among the callbacks now"
            for name, changed in self._absent.items()
            if changed.keys() - self._counters
        ]

    def forget_absent(self) -> None:
        """The state was compared: what those that are not here have left is no part of it any more."""
        self._absent = {}

    def differences(self, taken: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """A sentence for each callback that is here and whose attributes are not as they were saved."""
        return [
            f"the callback {name} is not as it was saved: {', '.join(differing)} changed before the first step"
            for name, changed in taken.items()
            if name in self._callbacks and (differing := self._differing(name, changed))
        ]

    def _differing(self, name: str, saved: Mapping[str, Any]) -> list[str]:
        now = vars(self._callbacks[name])
        return [
            key
            for key, value in saved.items()
            if not self._is_saved(live := now.get(key)) or _digest(self._taken(live)) != _digest(value)
        ]

    def _digests(self) -> dict[str, dict[str, str]]:
        return {
            name: {
                key: _digest(self._taken(value))
                for key, value in vars(callback).items()
                if not self._is_left(callback, key) and self._is_saved(value)
            }
            for name, callback in self._callbacks.items()
        }

    def _is_saved(self, value: Any) -> bool:
        return _is_data(value) or any(value is each for each in self._chosen.values())

    def _taken(self, value: Any) -> Any:
        name = next((name for name, each in self._chosen.items() if each is value), None)
        return value if name is None else {"order": name}

    def _given(self, value: Any) -> Any:
        is_chosen = isinstance(value, dict) and value.keys() == {"order"} and bool(self._chosen)
        return self._chosen[value["order"]] if is_chosen else value


def _is_data(value: Any) -> bool:
    match value:
        case None | bool() | int() | float() | str() | np.generic():
            return True
        case np.ndarray():
            return value.dtype != object
        case list() | tuple():
            return all(map(_is_data, value))
        case dict():
            return all(map(_is_data, value.values())) and all(isinstance(key, str) for key in value)
        case _:
            return False


def _digest(value: Any) -> str:
    return state.digest(state.capture(value))
