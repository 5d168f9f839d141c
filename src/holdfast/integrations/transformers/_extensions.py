"""What Trainers and callbacks of other libraries keep, such as TRL's: the completions that are still to be trained on, a reference
model, counters. transformers saves none of it.

Data that classes of the script set are among its variables; here is what those of libraries set, and the modules and optimizers
of both: an average of weights is often updated through `.data`, which no version counter tells.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any, Final, final

import torch
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers.trainer_callback import ExportableState

from ... import paths
from ...runtime.torch_watch.attributes import Attributes
from ...variables import attributes, is_own_class
from .._common.holders import by_class
from ._values import MISSING, TIMES, UNKNOWN, checksum, form_of, plain, put_into, without

_TRANSFORMERS: Final = frozenset(
    {"transformers", "accelerate", "torch", "builtins", "abc", "typing", "holdfast"}
)
_DEEPEST: Final = 4
_MOST_ITEMS: Final = 64
_STATEFUL: Final = (Optimizer, LRScheduler, GradScaler)

Slot = tuple[Any, Any]
"""What holds a value, an object or a container, and its name or key there."""


@final
class Extensions:
    """What they hold now is as the script makes it; what `get_state` gives has changed since.

    Attributes:
        lacking: after `get_state`, a sentence for each attribute that has changed and cannot be saved.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.lacking: list[str] = []
        found = self._look()
        self._values_at_first = {path: form_of(value) for path, value in found.values.items()}
        self._opaque_at_first = dict(found.opaque)  # held, so that ids stay their own
        self._modules_at_first = {path: checksum(each.state_dict()) for path, each in found.modules.items()}
        self._attributes = Attributes(found.modules)

    def at_work(self) -> dict[str, Any]:
        """Modules, optimizers and the like, by path."""
        found = self._look()
        return {**found.modules, **found.stateful}

    def get_state(self, *, with_modules: bool = True, with_times: bool = True) -> dict[str, Any]:
        """What has changed, as plain data and arrays; empty if nothing has.

        Args:
            with_modules: without them it is what each process has for itself.
            with_times: without how long things took.
        """
        found = self._look()
        values = {
            path: kept
            for path, value in found.values.items()
            if self._values_at_first.get(path, MISSING) != form_of(value)
            and (kept := plain(value)) is not UNKNOWN
        }
        self.lacking = [
            f"{path!r} has changed and cannot be saved: it is or holds something that is no data"
            for path, value in found.opaque.items()
            if value is not None and self._opaque_at_first.get(path) is not value
        ]
        values = values if with_times else without(TIMES, values)
        taken: dict[str, Any] = {"values": values} if values else {}
        if with_modules and (found.modules or found.stateful):
            now = {path: each.state_dict() for path, each in found.modules.items()}
            taken["modules"] = {
                path: state
                for path, state in now.items()
                if self._modules_at_first.get(path) != checksum(state)
            }
            taken["stateful"] = {path: each.state_dict() for path, each in found.stateful.items()}
            taken["at_first"] = {path: each for path, each in self._modules_at_first.items() if path in now}
            taken["attributes"] = self._attributes.get_state()
        return taken

    def set_state(self, saved: Mapping[str, Any], modules: Mapping[str, Any]) -> list[str]:
        """Put it back; a sentence for each that has no place, or that is not what it was.

        Args:
            saved: what this process had for itself.
            modules: what all have in common, as `get_state` of process 0 gave it.
        """
        device = self._trainer.args.device
        found, away = self._look(), []
        for path, value in saved.get("values", {}).items():
            slot = found.slots.get(path)
            if slot is None:
                away.append(path)
            else:
                _set(slot, put_into(_get(slot), value, device))
        for kind, live in (("modules", found.modules), ("stateful", found.stateful)):
            for path, state in modules.get(kind, {}).items():
                if path in live:
                    live[path].load_state_dict(state)
                else:
                    away.append(path)
        said = [f"{path!r} was saved, and there is none now" for path in away]
        said += [
            f"the weights of {path!r} are others than those that the run began with"
            for path, then in modules.get("at_first", {}).items()
            if path not in modules["modules"] and self._modules_at_first.get(path, then) != then
        ]
        return said + self._attributes.set_state(modules.get("attributes", {}))

    def _look(self) -> _Found:
        trainer: Any = self._trainer
        trained = trainer.accelerator.unwrap_model(trainer.model)
        found, handler = _Found(), trainer.callback_handler
        found.skip(trainer, trainer.args, trainer.state, trainer.control, trainer.accelerator, trainer.model)
        found.skip(*trained.modules(), trainer.optimizer, trainer.lr_scheduler, handler, *handler.callbacks)
        others = [each for each in handler.callbacks if not isinstance(each, ExportableState)]
        for name, owner in {"trainer": trainer, **by_class(others)}.items():
            names, base, packages = _of_libraries(type(owner))
            for attribute, value in list(vars(owner).items()):
                path = f"{name}.{attribute}"
                if attribute in names:
                    found.add(path, (owner, attribute), value, packages)
                elif attribute not in base and is_own_class(type(owner)):
                    found.add(path, (owner, attribute), value, packages, takes_data=False)
        return found


class _Found:
    """What is kept, by path: data, modules, what has a state, and what cannot be saved."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.values: dict[str, Any] = {}
        self.modules: dict[str, torch.nn.Module] = {}
        self.stateful: dict[str, Any] = {}
        self.opaque: dict[str, Any] = {}
        self.slots: dict[str, Slot] = {}

    def skip(self, *others: Any) -> None:
        self._seen.update(id(each) for each in others if each is not None)

    def add(
        self,
        path: str,
        slot: Slot,
        value: Any,
        packages: frozenset[str],
        depth: int = 0,
        *,
        takes_data: bool = True,
    ) -> None:
        if id(value) in self._seen:
            return
        self.slots[path] = slot
        if plain(value) is not UNKNOWN:
            if takes_data:
                self.values[path] = value
            return
        self._seen.add(id(value))
        if isinstance(value, torch.nn.Module):
            if not any(id(each) in self._seen for each in value.modules() if each is not value):
                self.modules[path] = value
            else:  # what is trained, wrapped together with others
                for name, child in value.named_children():
                    self.add(
                        *(f"{path}.{name}", (value, name), child, packages, depth + 1), takes_data=takes_data
                    )
        elif isinstance(value, _STATEFUL):
            self.stateful[path] = value
        elif depth < _DEEPEST and (below := list(_inside(path, value, packages))):
            for inner, its_slot, each in below:
                self.add(inner, its_slot, each, packages, depth + 1, takes_data=takes_data)
        elif takes_data and not callable(value):
            self.opaque[path] = value


def _inside(path: str, value: Any, packages: frozenset[str]) -> Iterator[tuple[str, Slot, Any]]:
    """What lies in a short container, or in an object of the same library."""
    if isinstance(value, dict) and len(value) <= _MOST_ITEMS:
        for inner, (key, each) in zip(
            (inner for inner, _ in paths.entries(path, value)), value.items(), strict=True
        ):
            yield inner, (value, key), each
    elif isinstance(value, list | tuple) and len(value) <= _MOST_ITEMS:
        for index, each in enumerate(value):
            yield paths.item(path, index), (value, index), each
    elif _package(type(value)) in packages:
        for name, each in attributes(value).items():
            yield f"{path}.{name}", (value, name), each


def _get(slot: Slot) -> Any:
    owner, name = slot
    return owner[name] if isinstance(owner, dict | list | tuple) else getattr(owner, name)


def _set(slot: Slot, value: Any) -> None:
    owner, name = slot
    if isinstance(owner, dict | list):
        owner[name] = value
    elif not isinstance(owner, tuple):
        setattr(owner, name, value)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


@lru_cache(maxsize=1024)
def _of_libraries(kind: type) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The attributes that classes of libraries set which this one is derived from; those that transformers' set; the packages."""
    libraries = [each for each in kind.__mro__ if not is_own_class(each)]
    others = [each for each in libraries if _package(each) not in _TRANSFORMERS]
    base = [each for each in libraries if _package(each) in _TRANSFORMERS]
    theirs = _stored(base)
    return _stored(others) - theirs, theirs, frozenset(map(_package, others))


def _stored(kinds: list[type]) -> frozenset[str]:
    codes = [code for kind in kinds for member in vars(kind).values() for code in _codes(member)]
    return frozenset(
        step.argval for code in codes for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"
    )


def _codes(member: Any) -> Iterator[CodeType]:
    """The code of a member of a class, also where it is decorated."""
    accessors: list[Callable[..., Any] | None] = [
        getattr(member, name, None) for name in ("fget", "fset", "__func__")
    ]
    for each in (member, *accessors):
        while each is not None:
            if isinstance(code := getattr(each, "__code__", None), CodeType):
                yield code
            each = getattr(each, "__wrapped__", None)
