"""The random generators that a loader draws from, wherever its parts hold them."""

from __future__ import annotations

import functools
import random
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from .. import rng
from ..errors import UsageError
from ..plain_attributes import slots_of
from ._parts import parts_of, set_epoch

_MOST_OBJECTS = 5_000
_LONGEST = 256  # items of a container; more are samples, not transforms
_ORDER = ("loader.generator", "loader.sampler", "loader.batch_sampler")
"""What decides the order of samples: without its generators the order cannot be restored."""


class OwnGenerators:
    """The random generators that a loader's parts hold, each once, by where it is found.

    Args:
        loader: whose parts `reachable_generators` searches.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.by_name, self._is_complete = reachable_generators(parts_of(loader)), False
        self.differences: list[str] = []
        """Why the last `set_state` could not set everything."""

    def enter(self, epoch: int) -> None:
        """Tell every part the epoch, and search again: generators may have been recreated for it."""
        set_epoch(self._loader, epoch)
        found, known = reachable_generators(parts_of(self._loader)), self.by_name
        self.by_name = {
            name: each for name, each in found.items() if name in known or not _decides_order(name)
        }

    def get_state(self, num_read: int) -> dict[str, Any]:
        """After so many batches of an epoch; the first ones were read, so search once for what they created.

        What a sampler creates when it makes its order, it creates again the next time.
        """
        if num_read and not self._is_complete:
            found, self._is_complete = reachable_generators(parts_of(self._loader)), True
            self.by_name |= {name: each for name, each in found.items() if not _decides_order(name)}
        return {name: rng.generator_state(generator) for name, generator in self.by_name.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Sets the generators that both sides have; others of a transform or dataset go to `differences`.

        Raises `UsageError`, and sets nothing, unless the generators that decide the order of samples are the same.
        """
        before, now = (sorted(filter(_decides_order, names)) for names in (state, self.by_name))
        if before != now:
            raise UsageError(
                f"the loader had random generators at {before} and has them at {now}. "
                "Build it with the same generator= and samplers as when it was saved."
            )
        self.differences = [
            f"{name} was a random generator and no longer exists: create it with the dataset, not with its first sample"
            for name in sorted(state.keys() - self.by_name.keys())
        ]
        new = sorted(self.by_name.keys() - state.keys())
        self.differences += [
            f"{name} is a random generator now, and was not when it was saved" for name in new
        ]
        for name in state.keys() & self.by_name.keys():
            rng.set_generator_state(self.by_name[name], state[name])


class Drawing:
    """For a source of batches to inherit: the random generators of its loader are in `_generators`, what else it keeps in `_attributes`."""

    _generators: OwnGenerators
    _attributes: Any  # `OwnAttributes`, which are found by what is here

    @property
    def differences(self) -> list[str]:
        return self._generators.differences

    @property
    def generators(self) -> Mapping[str, Any]:
        return self._generators.by_name

    def fingerprint(self) -> str | None:
        return None

    @contextmanager
    def kept(self, is_kept: Callable[[Any], bool]) -> Iterator[None]:
        """At its end these generators, and attributes of these objects, are what they were, whatever a `resume` inside has set."""
        states = [
            (each, rng.generator_state(each)) for each in self._generators.by_name.values() if is_kept(each)
        ]
        with self._attributes.kept(is_kept):
            yield
        for each, before in states:
            rng.set_generator_state(each, before)


def reachable_generators(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Every random generator that can be reached from the parts, each once, nearest first, by `part.attribute[0].…`.

    Gone through are attributes, short lists, tuples and dicts, bound methods and partials; of functions and classes that are
    not of an installed library also what they close over, and the globals that their code names, of modules too. The process's
    global generators are excluded. Those in more than 256 items, or held only by C code, are not found.
    """
    streams = _global_streams()
    return {
        name: each
        for name, each in reached(parts)
        if rng.is_generator(each) and not any(each is stream for stream in streams)
    }


def reached(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is inside the parts, each object once, nearest first; see `reachable_generators`."""
    waiting = deque(parts.items())
    met: dict[int, Any] = {id(part): part for part in parts.values()}  # kept alive: an id is used again
    while waiting and len(met) < _MOST_OBJECTS:
        name, one = waiting.popleft()
        for inner_name, inner in _inside(name, one):
            if id(inner) in met:
                continue
            met[id(inner)] = inner
            yield inner_name, inner
            is_leaf = isinstance(inner, _LEAVES) or rng.is_generator(inner)
            if not is_leaf and type(inner).__module__.partition(".")[0] != "holdfast":
                waiting.append((inner_name, inner))


_LEAVES = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, np.ndarray, np.generic)


def _inside(name: str, one: Any) -> Iterator[tuple[str, Any]]:
    match one:
        case list() | tuple():
            yield from ((f"{name}[{index}]", each) for index, each in enumerate(_items(one)))
        case dict():
            yield from ((f"{name}[{key!r}]", each) for key, each in _items(one) if isinstance(key, str | int))
        case MethodType() | BuiltinMethodType():
            yield f"{name}.__self__", one.__self__
            if isinstance(one, MethodType):
                yield name, one.__func__
        case functools.partial():
            yield name, one.func
            yield from ((f"{name}.args[{index}]", each) for index, each in enumerate(one.args))
            yield from ((f"{name}.keywords[{key!r}]", each) for key, each in one.keywords.items())
        case FunctionType():
            yield from _used_by(name, one)
    if not isinstance(one, FunctionType):
        yield from ((f"{name}.{key}", each) for key, each in _attributes(one))


def _items(container: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> Iterable[Any]:
    """The items of a short container. A subclass may read data when asked, so its base class is asked."""
    match container:
        case list():
            size, items = list.__len__(container), list.__iter__(container)
        case tuple():
            size, items = tuple.__len__(container), tuple.__iter__(container)
        case dict():
            size, items = dict.__len__(container), [*dict.items(container)]  # other threads may add to it
    return items if size <= _LONGEST else ()


def _attributes(one: Any) -> Iterator[tuple[str, Any]]:
    """Its own, in slots too, and those of its classes; none of a tensor."""
    if type(one).__module__.partition(".")[0] == "torch" and hasattr(one, "untyped_storage"):
        return
    for key, each in [*getattr(one, "__dict__", {}).items()]:
        if key != "_iterator":  # of a DataLoader: consumed by an epoch
            yield key, each
    for cls in type(one).__mro__:
        for key in slots_of(cls):
            if key != "__dict__" and hasattr(one, key):
                yield key, getattr(one, key)
        if not is_of_a_library(cls.__module__):
            for key, each in vars(cls).items():
                yield key, each.fget if isinstance(each, property) else getattr(each, "__func__", each)


def _used_by(name: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What the function closes over, its defaults, and which generators and functions of its module it names."""
    if is_of_a_library(function.__module__):
        return
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{name}.{key}", cell.cell_contents
        except ValueError:
            continue  # not yet assigned
    yield from ((f"{name}.defaults[{index}]", each) for index, each in enumerate(function.__defaults__ or ()))
    yield from ((f"{name}.{key}", each) for key, each in (function.__kwdefaults__ or {}).items())
    names = function.__code__.co_names  # of globals and of attributes alike
    named = [function.__globals__.get(key) for key in names]
    modules = [
        vars(each) for each in named if isinstance(each, ModuleType) and not is_of_a_library(each.__name__)
    ]
    for key in names:
        for namespace in (function.__globals__, *modules):
            each = namespace.get(key)
            if rng.is_generator(each) or isinstance(each, FunctionType | functools.partial):
                yield f"{name}.{key}", each


@functools.cache
def is_of_a_library(module: str | None) -> bool:
    """Whether it is Holdfast, of Python itself, or installed; random generators of such code are not ours to save."""
    if module is None or module.partition(".")[0] in {"holdfast", *sys.builtin_module_names}:
        return True
    path = getattr(sys.modules.get(module), "__file__", None)
    places = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    return path is not None and path.startswith(tuple(places))


def _decides_order(name: str) -> bool:
    return name.startswith(_ORDER)


def _global_streams() -> tuple[Any, ...]:
    """Generators behind the functions of `random`, `numpy.random` and `torch`, which `rng` keeps."""
    torch = sys.modules.get("torch")
    of_torch = () if torch is None else (torch.default_generator,)
    return (getattr(random, "_inst", None), np.random.mtrand._rand, *of_torch)
