"""What the samplers, datasets and collate functions of a loader keep for themselves, in attributes and in closures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from ..plain_attributes import Cells, PlainAttributes, different
from ._generators import is_of_a_library, reached
from ._indices import has_state
from ._parts import parts_of

_FREE_LOOKS = 4
_SHORT_S = 1e-3
_OF_SAMPLERS = ("torch.utils.data.sampler", "torch.utils.data.distributed")


class OwnAttributes:
    """Plain attributes of a loader's parts, and of what is in these, that change while it is used.

    Those of installed libraries are their affair, except for torch's own samplers and the rows that its subsets choose.

    `iterated`: called for what is iterated in place of the loader.
    """

    def __init__(self, loader: Any, iterated: Callable[[], Any] | None = None) -> None:
        self._loader, self._iterated = loader, iterated or (lambda: loader)
        self._attributes = PlainAttributes(self._owners(), takes_tensors=True)
        self._away: list[str] = []
        self._look_s = 0.0  # how long the last walk took
        self._num_looks = 0
        self._at_workers_start: Mapping[str, Mapping[str, Any]] | None = (
            None  # which outlive an epoch, and have copies of their own
        )

    def get_state(self) -> dict[str, Any]:
        self._look_again()
        return self._attributes.get_state()

    def facts(self) -> dict[str, Any]:
        """What a state of the loader says of them; nothing where nothing has changed."""
        found = self.get_state()
        return {"attributes": found} if found else {}

    def set_state(self, saved: Mapping[str, Any]) -> None:
        self._look_again()
        self._attributes.set_state(saved)
        self._away = self._attributes.missing(saved)

    @property
    def not_put_back(self) -> list[str]:
        """What the last `set_state` found no place for, a sentence each."""
        return [f"{name} had changed when it was saved, and is not here now" for name in self._away]

    @contextmanager
    def kept(self, is_kept: Callable[[Any], bool]) -> Iterator[None]:
        """At its end the attributes of these objects are what they were."""
        self._look_again()
        before = self._attributes.all(is_kept)
        try:
            yield
        finally:
            self._attributes.put(before)

    def _look_again(self) -> None:
        """Whatever the loader holds now, unless finding it takes long: then only at first."""
        self._num_looks += 1
        if self._num_looks <= _FREE_LOOKS or self._look_s < _SHORT_S:
            began_s = time.perf_counter()
            self._attributes.follow(self._owners())
            self._look_s = time.perf_counter() - began_s

    def _owners(self) -> dict[str, Any]:
        iterated = self._iterated()
        itself = {"loader": iterated} if _keeps_something(iterated) else {}
        return {**itself, **_owners(self._loader)}

    def workers_start(self) -> None:
        """Persistent workers start now, with copies of all parts."""
        self._at_workers_start = self._attributes.all()

    @property
    def of_workers(self) -> dict[str, Any]:
        """Of persistent workers: the attributes as they were at their start, and those that are others by now."""
        if self._at_workers_start is None:
            return {}
        return {
            "then": self._at_workers_start,
            "changed": different(self._at_workers_start, self._attributes.all()),
        }

    def differences(self, of_workers: Mapping[str, Any]) -> list[str]:
        """What new workers get that those of the checkpoint did not have, a sentence each."""
        return [
            f"persistent workers started when {name}.{attribute} was {value!r}, and start now with another"
            for name, attributes in different(of_workers.get("then", {}), self._attributes.all()).items()
            for attribute, value in attributes.items()
            if attribute not in of_workers["changed"].get(name, {})
        ]

    @contextmanager
    def as_for(self, saved: Mapping[str, Any]) -> Iterator[None]:
        """Inside, these attributes are as they were then."""
        now = self._attributes.all()
        self._attributes.put(saved)
        try:
            yield
        finally:
            self._attributes.put({name: now[name] for name in saved if name in now})


def _owners(loader: Any) -> dict[str, Any]:
    """By name what keeps something: objects of the script's own classes, and the variables of its functions."""
    parts = parts_of(loader)
    found: dict[str, Any] = {}
    for name, each in (*parts.items(), *reached(parts)):
        if isinstance(each, FunctionType):
            if each.__closure__ and not is_of_a_library(each.__module__):
                found[name] = Cells(dict(zip(each.__code__.co_freevars, each.__closure__, strict=True)))
        elif each is not loader and _keeps_something(each):
            found[name] = each
    return found


def _keeps_something(each: Any) -> bool:
    kind = type(each)
    if _chooses(kind):
        return True
    if isinstance(each, type) or not hasattr(each, "__dict__") or _is_trained(each):
        return False
    if has_state(kind):  # it says itself what its state is
        return False
    return not is_of_a_library(kind.__module__)


def _is_trained(each: Any) -> bool:
    """A module, an optimizer: what it holds has its own place."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(each, torch.nn.Module | torch.optim.Optimizer)


def _chooses(kind: type) -> bool:
    """Whether it is one of torch's own that says which rows come next."""
    is_subset = kind.__module__ == "torch.utils.data.dataset" and kind.__name__ == "Subset"
    return is_subset or kind.__module__ in _OF_SAMPLERS
