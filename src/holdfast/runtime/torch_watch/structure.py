"""Parameters that come, go, or are tied and untied while the loop runs: no script that is started again could take them back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

from torch import nn
from torch.optim import Optimizer

from ... import paths
from ...state.adapters.torch_nn import unwrapped

logger = logging.getLogger("holdfast")

_MAX_NAMED: Final = 3


@final
class Structure:
    """Of the modules and optimizers among `objects`, as the script has made them."""

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self._objects = objects
        self.follow()

    def follow(self) -> None:
        """The objects are now as a script that is started again would have them."""
        self._parameters, self._groups = self._look()
        self._seen = self._glance()
        self._is_said = False

    def check(self) -> None:
        """Warn, once, of what is no longer as the script has made it."""
        if self._is_said or (seen := self._glance()) == self._seen:
            return
        self._seen = seen
        if not (found := [*self._differences()]):
            return
        self._is_said = True
        logger.warning(
            "this script, started again, cannot resume from what is saved now unless it builds its objects so before "
            "the run: %s. Where that depends on the checkpoint, Resume(on_structure=…) is the place.",
            "; ".join(found[:_MAX_NAMED]),
        )

    def _differences(self) -> Iterator[str]:
        parameters, groups = self._look()
        for path in dict.fromkeys([*self._parameters, *parameters]):
            then, now = self._parameters.get(path), parameters.get(path)
            if then is None:
                yield f"the parameter {path!r} is new"
            elif now is None:
                yield f"the parameter {path!r} is gone"
            elif then != now:
                is_tied, other = (then == path, now) if now != path else (False, then)
                yield f"{path!r} and {other!r} are {'one parameter and were two' if is_tied else 'one parameter no longer'}"
        for name, then in self._groups.items():
            if (now := groups.get(name, then)) != then:
                yield f"the optimizer {name!r} had groups of {then} parameters, and has groups of {now}"

    def _glance(self) -> list[Any]:
        """What differs wherever `_look` does, in a fraction of its time."""
        found: list[Any] = []
        for each in self._objects.values():
            if isinstance(each, nn.Module):
                _add_parameters(each, found, set())
            elif isinstance(each, Optimizer):
                found += (len(group["params"]) for group in each.param_groups)
        return found

    def _look(self) -> tuple[dict[str, str], dict[str, list[int]]]:
        """By the path of each parameter the first one at which it stands; and how many each group of an optimizer has."""
        first: dict[int, str] = {}
        parameters: dict[str, str] = {}
        for path, parameter in _parameters(self._objects):
            parameters[path] = first.setdefault(id(parameter), path)
        optimizers = {name: each for name, each in self._objects.items() if isinstance(each, Optimizer)}
        groups = {
            name: [len(group["params"]) for group in each.param_groups] for name, each in optimizers.items()
        }
        return parameters, groups


def _parameters(objects: Mapping[str, Any]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, each in objects.items():
        if isinstance(each, nn.Module):
            for below, parameter in unwrapped(each).named_parameters(remove_duplicate=False):
                yield paths.child(name, below), parameter


def _add_parameters(module: nn.Module, found: list[Any], seen: set[int]) -> None:
    """By name and identity, those of a module and of the modules in it, but for those `seen` before."""
    seen.add(id(module))
    found += module._parameters
    found += map(id, module._parameters.values())
    found += module._modules
    for each in module._modules.values():
        if each is not None and id(each) not in seen:
            _add_parameters(each, found, seen)
