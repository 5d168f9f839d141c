"""Functions that torch calls at a module, a parameter or an optimizer: which there are, is in no `state_dict`."""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, Final, final

from ...state import Attributes
from .._kinds import SCALARS, is_module, is_tensor, torch

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


@dataclass(frozen=True, slots=True)
class Hook:
    """One that is registered: of which kind, and under which name it is told."""

    kind: str
    name: str
    hook: Any


@dataclass(frozen=True, slots=True)
class Holder:
    """What can have hooks, with those that it has."""

    path: str
    holder: Any
    hooks: list[Hook]


@final
class Hooks:
    """Which have come, gone or been exchanged since `begin`."""

    def __init__(self) -> None:
        self._began: dict[str, list[Hook]] | None = None
        self._of_variables: dict[int, tuple[Callable[[], Any], str, list[Hook]]] = {}

    def begin(self, objects: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        """The loop begins, with these objects of the run and these variables; of a loop within it nothing is to be known."""
        if self._began is not None or torch() is None:
            return
        seen: set[int] = set()
        self._began = _by_path(_holders(objects, seen))
        for each in _holders(variables, seen, with_torch=False):
            self._of_variables[id(each.holder)] = weakref.ref(each.holder), each.path, each.hooks

    def changed(self, objects: Mapping[str, Any], variables: Mapping[str, Any], run: str) -> dict[str, str]:
        """A sentence for each object whose hooks are others, by the name under which it can be ignored (`{run}ignore`).

        Of variables only those count that were there when the loop began.
        """
        if self._began is None:
            return {}
        seen: set[int] = set()
        now = _by_path(_holders(objects, seen))
        pairs = [(path, self._began.get(path, []), now.get(path, [])) for path in {**self._began, **now}]
        for each in _holders(variables, seen, with_torch=False):
            get, path, before = self._of_variables.get(id(each.holder), (None, "", []))
            if get is not None and get() is each.holder:
                pairs.append((path, before, each.hooks))
        found: dict[str, str] = {}
        for path, before, there in pairs:
            key = f"{path}.hooks"
            for hook, what in _differences(before, there):
                found[key] = (
                    f"{key}: a {hook.kind} ({hook.name}) {what} since the loop began, and hooks are not saved: a resume has those of the "
                    f"script's beginning. Register it before the loop, with a variable that says when it acts; {run}ignore({key!r}) if "
                    "it decides nothing"
                )
        return found


def registered(objects: Mapping[str, Any]) -> list[Any]:
    """The functions and objects of the script that are registered as hooks at these objects, and at all modules."""
    if torch() is None:
        return []
    return [each.hook for holder in _holders(objects, set()) for each in holder.hooks]


def _differences(before: list[Hook], now: list[Hook]) -> Iterator[tuple[Hook, str]]:
    """Each one that is not as it was, and what has become of it."""
    for kind_and_name in dict.fromkeys((each.kind, each.name) for each in (*before, *now)):
        then, there = (
            [one for one in each if (one.kind, one.name) == kind_and_name] for each in (before, now)
        )
        if len(then) != len(there):
            yield (then or there)[0], "was registered" if len(there) > len(then) else "is gone"
        elif not all(_is_same(one.hook, other.hook) for one, other in zip(then, there, strict=True)):
            yield there[0], "was exchanged for another of this name"


def _is_same(one: Any, other: Any) -> bool:
    """Whether two functions do the same: the same code, with the same values."""
    if one is other:
        return True
    match one, other:
        case functools.partial(), functools.partial():
            pairs = [(one.func, other.func), *zip(one.args, other.args, strict=False)]
            pairs += [(each, other.keywords.get(name)) for name, each in one.keywords.items()]
            is_alike = len(one.args) == len(other.args) and one.keywords.keys() == other.keywords.keys()
            return is_alike and all(itertools.starmap(_is_same, pairs))
        case MethodType(), MethodType():
            return one.__self__ is other.__self__ and _is_same(one.__func__, other.__func__)
        case FunctionType(), FunctionType():
            return one.__code__ is other.__code__ and all(
                itertools.starmap(_is_same, zip(_kept_by(one), _kept_by(other), strict=False))
            )
        case _:
            return type(one) is type(other) and type(one) in SCALARS and one == other


def _kept_by(function: FunctionType) -> list[Any]:
    """What a function closes over, and its defaults."""
    cells = [next(iter(gc.get_referents(each)), None) for each in function.__closure__ or ()]
    by_name = function.__kwdefaults__ or {}
    return [*cells, *(function.__defaults__ or ()), *(by_name[name] for name in sorted(by_name))]


def _by_path(holders: Iterable[Holder]) -> dict[str, list[Hook]]:
    found: dict[str, list[Hook]] = {}
    for each in holders:
        if each.hooks:
            found.setdefault(each.path, []).extend(each.hooks)
    return found


def _holders(objects: Mapping[str, Any], seen: set[int], *, with_torch: bool = True) -> Iterator[Holder]:
    """What can have hooks in these objects, each once; `with_torch`: and torch, which has some for all of them, and without parameters
    that have none."""
    for module, kinds in _OF_ALL.items() if with_torch else ():
        yield _holder("torch", sys.modules.get(module), kinds)
    yield from _look(objects, "", 0, seen, is_all=not with_torch)


def _look(value: Any, path: str, depth: int, seen: set[int], *, is_all: bool) -> Iterator[Holder]:
    if isinstance(value, str | bytes | int | float | None) or depth > _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    if is_tensor(value):
        yield _holder(path, value, _OF_TENSORS)
    elif is_module(value):
        yield from _look_at_module(value, path, seen, is_all=is_all)
    elif isinstance(value, torch().optim.Optimizer):
        found = _holder(path, value, _OF_OPTIMIZERS)
        yield Holder(path, value, [*found.hooks, *_patched(value)])
    else:
        for name, each in _inside(value):
            yield from _look(each, f"{path}.{name}" if path else name, depth + 1, seen, is_all=is_all)


def _look_at_module(module: Any, path: str, seen: set[int], *, is_all: bool) -> Iterator[Holder]:
    path = path.removesuffix("._orig_mod")  # as it was before it was compiled
    if is_all or any(map(vars(module).get, _OF_MODULES)):
        yield _holder(path, module, _OF_MODULES)
    for name, each in getattr(module, "_parameters", {}).items():
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            if is_all or each._backward_hooks or each._post_accumulate_grad_hooks:
                yield _holder(f"{path}.{name}", each, _OF_TENSORS)
    for name, each in getattr(module, "_modules", {}).items():
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield from _look_at_module(each, f"{path}.{name}", seen, is_all=is_all)


def _holder(path: str, holder: Any, kinds: Mapping[str, str]) -> Holder:
    found: list[Hook] = []
    for attribute, kind in kinds.items():
        hooks = getattr(holder, attribute, None)
        if hooks and isinstance(hooks, Mapping):
            named = ((_name(hook), hook) for hook in list(hooks.values()))
            found += [Hook(kind, name, hook) for name, hook in named if name is not None]
    return Holder(path, holder, found)


def _patched(optimizer: Any) -> list[Hook]:
    """Functions of the script in the place of an optimizer's methods: `optimizer.step = scaled`."""
    own = {
        name: each for name, each in vars(optimizer).items() if isinstance(each, FunctionType | MethodType)
    }
    named = [(method, _name(each), each) for method, each in own.items() if hasattr(type(optimizer), method)]
    return [
        Hook(f"function in the place of {method}", name, each)
        for method, name, each in named
        if name is not None
    ]


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
