"""What an algorithm keeps in attributes that stable-baselines3 does not save: hidden states, weights of its own, statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, final

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch.optim import Optimizer

from ... import state
from ...errors import UnsupportedStateError, UsageError
from ._environment import LEFT

_LEFT: Final = (gym.Space, torch.device, Logger, TrainFreq, VecEnv, Optimizer, type)
"""The same in every process; or saved, or named, by others: an optimizer is, when it steps."""
_BY_THEMSELVES: Final = ("rollout_buffer", "replay_buffer", "action_noise", "policy_kwargs")


@final
class Rest:
    """Of an algorithm: attributes that are no plain data. Looked at whenever another value is assigned.

    Args:
        saved: what is saved of it by itself, live.
        is_plain: whether a value is saved as plain data.

    Attributes:
        objects: modules, and objects by their attributes, that are here from the start; for a loop to save.
    """

    def __init__(
        self, model: BaseAlgorithm, saved: Mapping[str, Any], is_plain: Callable[[Any], bool]
    ) -> None:
        self._model, self._is_plain = model, is_plain
        self._saved = list(_parts(list(saved.values())))
        self._known: dict[str, Any] = {}
        self._data: dict[str, Any] = {}
        self._missing: dict[str, str] = {}
        self.objects: dict[str, Any] = {}
        self._look(is_first=True)
        self._at_first = {name: _digest(value) for name, value in self._data.items()}

    def take(self) -> dict[str, Any]:
        """Data that have changed, live."""
        self._look()
        return {
            name: value for name, value in self._data.items() if self._at_first.get(name) != _digest(value)
        }

    def put(self, given: Mapping[str, Any]) -> None:
        """Set new values, of the types and on the devices of those that are there."""
        for name, value in given.items():
            setattr(self._model, name, _as(vars(self._model).get(name), value))

    @property
    def missing(self) -> Sequence[str]:
        """A sentence for each that cannot be saved."""
        self._look()
        return list(self._missing.values())

    def _look(self, *, is_first: bool = False) -> None:
        for name, value in [*vars(self._model).items()]:
            if name in self._known and self._known[name] is value:
                continue
            self._known[name] = value
            self._data.pop(name, None)
            self._missing.pop(name, None)
            if self._is_of_interest(name, value):
                self._sort(name, value, is_first=is_first)

    def _is_of_interest(self, name: str, value: Any) -> bool:
        if name in _BY_THEMSELVES or isinstance(value, _LEFT) or self._is_plain(value):
            return False
        if callable(value) and not isinstance(value, torch.nn.Module):
            return False
        parts = [*_parts(value)]
        return not parts or not all(map(self._is_saved, parts))

    def _is_saved(self, part: Any) -> bool:
        if isinstance(part, torch.Tensor):
            return any(_place(each) == _place(part) for each in self._saved if isinstance(each, torch.Tensor))
        return any(each is part for each in self._saved)

    def _sort(self, name: str, value: Any, *, is_first: bool) -> None:
        said = f"the algorithm's attribute {name} is not saved"
        try:
            if next(state.unmakeable(state.look({name: value}).tree), None) is None:
                self._data[name] = value
            elif is_first:
                self.objects[name] = value
            else:
                self._missing[name] = f"{said}: it became another {type(value).__name__}"
            return
        except UnsupportedStateError as err:
            why = f"{err.path} is a {err.kind}"
        try:
            handed = state.attributes(value, leave=LEFT)
            state.look({name: handed})
        except (UsageError, UnsupportedStateError):
            self._missing[name] = f"{said}: {why}"
            return
        if is_first:
            self.objects[name] = handed
        else:
            self._missing[name] = f"{said}: it became another {type(value).__name__}"


def _parts(value: Any) -> Iterator[Any]:
    """Modules with all that is in them, tensors and other objects, in containers too."""
    match value:
        case list() | tuple():
            for each in value:
                yield from _parts(each)
        case dict():
            for each in value.values():
                yield from _parts(each)
        case torch.nn.Module():
            yield from value.modules()
            yield from value.state_dict(keep_vars=True).values()
        case _:
            yield value


def _as(live: Any, value: Any) -> Any:
    """A value that was saved, on the device of the live one, in named tuples where that has them."""
    if isinstance(live, torch.Tensor) and isinstance(value, torch.Tensor):
        return value.to(live.device)
    if isinstance(live, tuple) and isinstance(value, tuple | list) and len(live) == len(value):
        items = [_as(one, other) for one, other in zip(live, value, strict=True)]
        return type(live)(*items) if hasattr(live, "_fields") else tuple(items)
    if isinstance(live, list) and isinstance(value, list) and len(live) == len(value):
        return [_as(one, other) for one, other in zip(live, value, strict=True)]
    if isinstance(live, dict) and isinstance(value, dict):
        return {key: _as(live.get(key), each) for key, each in value.items()}
    return value


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _digest(value: Any) -> str:
    return state.digest(state.capture(value))
