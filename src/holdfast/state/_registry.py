"""Which adapter takes a type apart: the only place that knows of `adapters/`.

A file of that folder holds `ADAPTERS` (the first that claims a type wins) and may hold `MAKERS`: for
each leaf kind that is named like the file, how such a leaf is made again. A file is named after the
framework it needs, up to the first `_`, and is imported only once the program itself has imported that
framework: nobody can own a tensor before. So a new framework is one new file.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, Protocol

from .. import rng
from ..records import Leaf, Node, Object
from . import adapters
from ._kinds import is_called, type_name
from ._names import Names

# Our own protocol outranks every framework's; the guesses ("it has a state_dict") come last.
_FIRST = ("parts", "attributes", "by_rank")
_LAST = ("numpy", "random", "collections", "values", "keyed", "python", "protocols", "subclass", "dataclass")

Read = Callable[[Leaf, Any], None]
"""Fills the second argument, `leaf.size_bytes` of uint8, with the bytes of the first."""


class Claimant(Protocol):
    """What the registry knows of an adapter; see `Adapter` for what adapters do."""

    @property
    def name(self) -> str: ...

    def claims(self, kind: type) -> bool: ...

    @property
    def capture(self) -> Callable[..., Node]: ...

    @property
    def plan(self) -> Callable[..., Callable[[], Any]]: ...


_registered: list[Claimant] = []
_types: list[type] = []
_by_type: dict[type, Claimant | None] = {}
_loaded: dict[str, ModuleType] = {}


def register(adapter: Claimant) -> None:
    """Let `adapter` take the types it claims, before all that were there."""
    _registered.insert(0, adapter)
    _by_type.clear()


def is_registered(kind: type) -> bool:
    return kind in _types


def add_type(kind: type) -> None:
    """Let values of this class be made again where no live one says of which class they are."""
    if kind not in _types:
        _types.append(kind)


def registered_type(name: str) -> type | None:
    """The registered class of this name, wherever it is defined; of several, the one defined where it was, or the latest."""
    alike = [kind for kind in reversed(_types) if is_called(name, kind)]
    return next((kind for kind in alike if type_name(kind) == name), alike[0] if alike else None)


def can_make(taken: Object) -> bool:
    """Whether a value can be made of this, with no live one to say of which class it is."""
    adapter = adapter_named(taken.adapter)
    makes = getattr(adapter, "makes", None)
    return hasattr(adapter, "fresh") and (makes is None or makes(taken))


def adapter_of(kind: type) -> Claimant | None:
    """The adapter of values of exactly this type."""
    found = _by_type.get(kind)
    if found is None:
        _load_present()
        found = next((adapter for adapter in _in_order() if adapter.claims(kind)), None)
        if found is not None:  # an adapter loaded later may still claim the others
            _by_type[kind] = found
    return found


def is_known(kind: type) -> bool:
    """Whether there is an adapter of values of this type."""
    return adapter_of(kind) is not None


def is_value(kind: type) -> bool:
    """Whether values of this type are data, though no standard container: all of them is saved, and made again from that."""
    return getattr(adapter_of(kind), "is_value", False)


def is_container(kind: type) -> bool:
    """Whether values of this type are a dict or a list of a class of its own, of which the contents and attributes are saved."""
    return getattr(adapter_of(kind), "is_container", False)


def introduce(value: Any, names: Names, path: str) -> None:
    """Name what is in a value that is left out: others, such as an optimizer, may refer to it all the same."""
    named = getattr(adapter_of(type(value)), "introduce", None)
    if named is not None:
        named(value, names, path)


def adapter_named(name: str) -> Claimant | None:
    """The adapter that wrote an `Object`, if it is here."""
    _load_present()
    return next((adapter for adapter in _in_order() if adapter.name == name), None)


def maker_of(kind: str) -> Callable[[Leaf, Read], Any] | None:
    """What makes a leaf of this kind again; None if its framework is not installed."""
    _load_present()
    for file in _files():
        if file == kind and file not in _loaded and importlib.util.find_spec(_framework(file)):
            _load(file)
    makers = (getattr(module, "MAKERS", {}).get(kind) for module in _loaded.values())
    return next((maker for maker in makers if maker is not None), None)


def _in_order() -> Iterator[Claimant]:
    yield from _registered
    frameworks = sorted(set(_loaded) - {*_FIRST, *_LAST})
    for file in (*_FIRST, *frameworks, *_LAST):
        yield from _loaded[file].ADAPTERS


def _load_present() -> None:
    for file in _files():
        if file not in _loaded and (file in _FIRST or file in _LAST or _framework(file) in sys.modules):
            _load(file)


def _load(file: str) -> None:
    with rng.preserved():  # some packages draw while they are imported; a save must not change random states
        _loaded[file] = importlib.import_module(f"{adapters.__name__}.{file}")
    _by_type.clear()


@cache
def _files() -> tuple[str, ...]:
    return tuple(entry.name for entry in pkgutil.iter_modules(adapters.__path__))


def _framework(file: str) -> str:
    return file.partition("_")[0]
