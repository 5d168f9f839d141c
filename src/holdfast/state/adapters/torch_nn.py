"""`torch.nn.Module`: parameters, persistent buffers and extra state, under their canonical names.

Training modes and `requires_grad` are kept too. Plain attributes and buffers that are not persistent
are not: they are listed once for each type of module.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import torch
from torch import nn

from ... import paths
from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import type_name
from .._names import Names
from .._walk import Walk
from .torch import proof_of_module

_Any = TypeVar("_Any")

_log = logging.getLogger("holdfast")
_listed: set[type] = set()
_PLUMBING = frozenset(vars(nn.Module()))


class _Module:
    name = "torch.nn.Module"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, nn.Module)

    def capture(self, value: nn.Module, walk: Walk, path: str) -> Node:
        module = unwrapped(value)
        return walk.part(
            module, path, lambda: self._capture(module, walk, path), lambda: proof_of_module(module)
        )

    def _capture(self, module: nn.Module, walk: Walk, path: str) -> Node:
        below = _modules(module)
        _list_unsaved(below)
        state = {name: walk.node(entry, walk.child(path, name)) for name, _, entry in _entries(module, below)}
        return Object(self.name, type_name(type(module)), state, _flags(module, below))

    def introduce(self, value: nn.Module, names: Names, path: str) -> None:
        for name, _, entry in _entries(module := unwrapped(value), _modules(module)):
            names.add(entry, paths.child(path, name))

    def plan(self, live: nn.Module, node: Node, fit: Fit, path: str) -> Make:
        module = unwrapped(live)
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        fills, loads = _plan_entries(module, taken.state, fit, path)

        def act() -> nn.Module:
            for name, (entry, fill) in fills.items():
                made = fill()
                if made is not entry:  # of a nested buffer another one is made
                    owner, _, last = name.rpartition(".")
                    setattr(module.get_submodule(owner), last, made)
            if loads:
                module.load_state_dict({name: make() for name, make in loads.items()}, strict=False)
            if taken.about:  # a partial restore brings none
                set_flags(module, taken.about)
            return live

        return act


def _plan_entries(
    module: nn.Module, saved: dict[str, Node], fit: Fit, path: str
) -> tuple[dict[str, tuple[Any, Make]], dict[str, Make]]:
    """What is filled in place, with what fills it, and what the module must load itself, under its own names."""
    entries = _entries(module, _modules(module))  # first: it may put the shards of parameters in their place
    owned = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    fills: dict[str, tuple[Any, Make]] = {}
    loads: dict[str, Make] = {}
    for name, own_name, entry in entries:
        below = paths.child(path, name)
        if name not in saved:
            fit.names.add(entry, below)  # an optimizer has it all the same
            fit.problem(below, "is not in the saved state")
        elif id(entry) in owned:
            fills[own_name] = entry, fit.into(entry, saved[name], below)
        else:  # extra state, or a copy that a hook made: filling it would have no effect
            loads[own_name] = fit.replace(entry, saved[name], below)
    for name in saved.keys() - {name for name, _, _ in entries}:
        fit.problem(paths.child(path, name), "was saved, and the live module has no such entry")
    return fills, loads


_OF_COMPILED: Final = "_orig_mod."


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside wrappers of `torch.compile` and data parallelism, recognised by type."""
    while (inside := _wrapped_name(type(module))) is not None:
        module = getattr(module, inside)
    return module


def named_as_live(live: Iterable[str], saved: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved by the names of weights, by those that they have now: a part that `torch.compile` wraps has others."""
    names = {each.replace(_OF_COMPILED, ""): each for each in live}
    return {names.get(name.replace(_OF_COMPILED, ""), name): value for name, value in saved.items()}


def compiled_differently(live: Iterable[str], saved: Iterable[str]) -> list[str]:
    """A sentence if some weights, by name, are of compiled modules only then or only now, which need not compute the same bits."""
    now = {each.replace(_OF_COMPILED, ""): _OF_COMPILED in each for each in live}
    for name in saved:
        plain, was = name.replace(_OF_COMPILED, ""), _OF_COMPILED in name
        if now.get(plain, was) != was:
            said = "was compiled and is not now" if was else "is compiled now and was not"
            return [f"the module of {plain!r} {said}"]
    return []


def _wrapped_name(kind: type) -> str | None:
    if issubclass(kind, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return "module"
    compiler = sys.modules.get("torch._dynamo.eval_frame")  # importing it takes seconds
    return "_orig_mod" if compiler is not None and issubclass(kind, compiler.OptimizedModule) else None


_Modules: TypeAlias = list[tuple[str, nn.Module]]
"""A module and all below it, each with its own name, as often as it occurs."""


def _modules(module: nn.Module) -> _Modules:
    return list(module.named_modules(remove_duplicate=False))


def _entries(module: nn.Module, below: _Modules) -> list[tuple[str, str, Any]]:
    """What `state_dict` has, live: (canonical name, the module's own name, value)."""
    state = module.state_dict(keep_vars=True)
    return list(zip(_canonical(below, state), state.keys(), state.values(), strict=True))


def _canonical(modules: _Modules, names: Iterable[str]) -> list[str]:
    """Names below the first of the modules without the parts that wrappers put into them."""
    insides = {kind: _wrapped_name(kind) for kind in {type(below) for _, below in modules}}
    if not any(insides.values()):
        return list(names)
    wrappers = [
        (f"{path}." if path else "", f"{inside}.")
        for path, below in modules
        if (inside := insides[type(below)]) is not None
    ]
    wrappers.sort(key=lambda wrapper: len(wrapper[0]), reverse=True)  # the inner ones first
    canonical = []
    for name in names:
        for path, inside in wrappers:
            if name.startswith(path + inside):
                name = path + name[len(path + inside) :]
        canonical.append(name)
    return canonical


def can_learn(tensor: torch.Tensor) -> bool:
    """Whether `requires_grad` is the script's to set."""
    return (
        tensor.is_leaf and not tensor.is_inference() and (tensor.is_floating_point() or tensor.is_complex())
    )


def flags(module: nn.Module) -> dict[str, Any]:
    """Which submodules are in another mode than the module, and which parameters are frozen."""
    return _flags(module, _modules(module))


def _flags(module: nn.Module, modules: _Modules) -> dict[str, Any]:
    others = [(name, below) for name, below in modules if below.training != module.training]
    frozen = [(name, each) for name, each in _parameters(modules) if not each.requires_grad]
    return {
        "training": module.training,
        "modes": {name: below.training for name, below in _named(modules, others)},
        "frozen": [name for name, _ in _named(modules, frozen)],
    }


def set_flags(module: nn.Module, about: Mapping[str, Any]) -> None:
    """Let the modes, and what is frozen, be as `flags` has found them."""
    training, modes = about.get("training", True), about.get("modes", {})
    frozen = set(about.get("frozen", ()))
    modules = _modules(module)
    for name, below in _named(modules, modules) if modes else modules:
        below.training = bool(modes.get(name, training))
    parameters = list(_parameters(modules))
    for name, parameter in _named(modules, parameters) if frozen else parameters:
        if parameter.requires_grad == (name in frozen):
            parameter.requires_grad_(name not in frozen)


def _parameters(modules: _Modules) -> Iterator[tuple[str, nn.Parameter]]:
    for path, below in modules:
        for name, parameter in below._parameters.items():
            if parameter is not None:
                yield f"{path}.{name}" if path else name, parameter


def _named(modules: _Modules, pairs: Sequence[tuple[str, _Any]]) -> list[tuple[str, _Any]]:
    # The dot distinguishes a wrapper's own path ("a._orig_mod") from a mere prefix of a name.
    canonical = _canonical(modules, [f"{name}." for name, _ in pairs])
    return [(name.removesuffix("."), value) for name, (_, value) in zip(canonical, pairs, strict=True)]


def _list_unsaved(modules: _Modules) -> None:
    """Log once for each type what a checkpoint of it leaves out."""
    for kind in {type(below) for _, below in modules} - _listed:
        _listed.add(kind)
        if kind.__module__.startswith("torch."):
            continue
        below = next(each for _, each in modules if type(each) is kind)
        names = {*(set(vars(below)) - _PLUMBING), *below._non_persistent_buffers_set}
        if names:
            _log.info(
                "%s: not saved (plain attributes, non-persistent buffers): %s",
                kind.__name__,
                sorted(names),
            )


ADAPTERS = (_Module(),)
