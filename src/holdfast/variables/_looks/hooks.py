"""Functions that torch calls at a module, a parameter or an optimizer that was handed over: which there are, is in no `state_dict`."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Mapping
from types import MethodType
from typing import Any, Final, final

from ...state import Attributes
from .._kinds import is_module, is_tensor, torch

_OF_MODULES: Final = {
    "_forward_pre_hooks": "forward pre-hook",
    "_forward_hooks": "forward hook",
    "_backward_pre_hooks": "backward pre-hook",
    "_backward_hooks": "backward hook",
}
_OF_TENSORS: Final = {
    "_backward_hooks": "gradient hook",
    "_post_accumulate_grad_hooks": "gradient hook (after accumulation)",
}
_OF_OPTIMIZERS: Final = {
    "_optimizer_step_pre_hooks": "step pre-hook",
    "_optimizer_step_post_hooks": "step post-hook",
}
_OF_ALL: Final = {
    "torch.nn.modules.module": {
        "_global_forward_pre_hooks": "forward pre-hook of all modules",
        "_global_forward_hooks": "forward hook of all modules",
        "_global_backward_pre_hooks": "backward pre-hook of all modules",
        "_global_backward_hooks": "backward hook of all modules",
    },
    "torch.optim.optimizer": {
        "_global_optimizer_pre_hooks": "step pre-hook of all optimizers",
        "_global_optimizer_post_hooks": "step post-hook of all optimizers",
    },
}
_OF_LIBRARIES: Final = frozenset(
    {
        *(
            "accelerate",
            "bitsandbytes",
            "clearml",
            "deepspeed",
            "fairscale",
            "holdfast",
            "keras",
            "lightning",
            "lightning_fabric",
        ),
        *(
            "mlflow",
            "modularml",
            "peft",
            "pytorch_lightning",
            "stable_baselines3",
            "torch",
            "torchinfo",
            "transformers",
            "trl",
        ),
        *("wandb",),
    }
)
"""Those that register for themselves, when they come to it, what follows from what is saved, or what only looks on."""
_DEEPEST: Final = 6
_MOST_ITEMS: Final = 64  # a longer container holds data
Registered = dict[str, Counter[tuple[str, str]]]
"""Of each object, by its path: what kinds of hooks there are, and of what name."""


@final
class Hooks:
    """Which have come or gone since `begin`."""

    def __init__(self) -> None:
        self._began: Registered | None = None

    def begin(self, objects: Mapping[str, Any]) -> None:
        """The loop begins; of another one within it nothing is to be known."""
        if self._began is None:
            self._began = _registered(objects)

    def changed(self, objects: Mapping[str, Any], run: str) -> dict[str, str]:
        """A sentence for each object whose hooks are others, by the name under which it can be ignored (`{run}ignore`)."""
        if self._began is None:
            return {}
        began, now, found = self._began, _registered(objects), dict[str, str]()
        for path in dict.fromkeys([*began, *now]):
            then, there = began.get(path, Counter()), now.get(path, Counter())
            for (kind, name), verb in [
                *((each, "was registered") for each in there - then),
                *((each, "is gone") for each in then - there),
            ]:
                key = f"{path}.hooks"
                found[key] = (
                    f"{key}: a {kind} ({name}) {verb} since the loop began, and hooks are not saved: a resume has those of the script's "
                    f"beginning. Register it before the loop, with a variable that says when it acts; {run}ignore({key!r}) if it "
                    "decides nothing"
                )
        return found


def _registered(objects: Mapping[str, Any]) -> Registered:
    if torch() is None:
        return {}
    found: Registered = {}
    for module, kinds in _OF_ALL.items():
        _add(found, "torch", sys.modules.get(module), kinds)
    _look(found, objects, "", 0, set())
    return found


def _look(found: Registered, value: Any, path: str, depth: int, seen: set[int]) -> None:
    """Add the hooks of each object in `value` that can have some, once."""
    if isinstance(value, str | bytes | int | float | None) or depth > _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    if is_tensor(value):
        _add(found, path, value, _OF_TENSORS)
    elif is_module(value):
        _look_at_module(found, value, path, seen)
    elif isinstance(value, torch().optim.Optimizer):
        _add(found, path, value, _OF_OPTIMIZERS)
    else:
        for name, each in _inside(value):
            _look(found, each, f"{path}.{name}" if path else name, depth + 1, seen)


def _look_at_module(found: Registered, module: Any, path: str, seen: set[int]) -> None:
    path = path.removesuffix("._orig_mod")  # as it was before it was compiled
    _add(found, path, module, _OF_MODULES)
    for name, each in getattr(module, "_parameters", {}).items():
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            if each._backward_hooks or each._post_accumulate_grad_hooks:
                _add(found, f"{path}.{name}", each, _OF_TENSORS)
    for name, each in getattr(module, "_modules", {}).items():
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            _look_at_module(found, each, f"{path}.{name}", seen)


def _add(found: Registered, path: str, holder: Any, kinds: Mapping[str, str]) -> None:
    for attribute, kind in kinds.items():
        hooks = getattr(holder, attribute, None)
        if hooks and isinstance(hooks, Mapping):
            for hook in list(hooks.values()):
                if (name := _name(hook)) is not None:
                    found.setdefault(path, Counter())[kind, name] += 1


def _inside(value: Any) -> list[tuple[str, Any]]:
    """What lies in a container, and in what saves itself."""
    if isinstance(value, Attributes):
        return [("", each) for each in value.held()]
    if isinstance(value, list | tuple):
        return [(str(index), each) for index, each in enumerate(value)] if len(value) <= _MOST_ITEMS else []
    if not isinstance(value, Mapping):
        is_saving = any(hasattr(type(value), name) for name in ("state_dict", "get_state"))
        value = getattr(value, "__dict__", {}) if is_saving else {}
    return [(str(name), each) for name, each in list(value.items())] if len(value) <= _MOST_ITEMS else []


def _name(hook: Any) -> str | None:
    """What its function is called and where it stands; None if a library has registered it for itself."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    if isinstance(hook, MethodType):
        hook = hook.__func__
    named = hook if hasattr(hook, "__qualname__") else type(hook)
    module = getattr(named, "__module__", None) or ""
    if module.partition(".")[0] in _OF_LIBRARIES:
        return None
    code = getattr(hook, "__code__", None)
    return named.__qualname__ + ("" if code is None else f", line {code.co_firstlineno}")
