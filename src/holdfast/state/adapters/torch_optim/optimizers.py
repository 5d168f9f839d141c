"""`torch.optim.Optimizer`: its state under the paths of its parameters, so that a reordered model is noticed.

`Optimizer.load_state_dict` matches by position and casts state to the parameter's dtype; here state is
matched by name and comes back bit for bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .... import paths
from ....records import Node, Object
from ..._exclude import is_left_out
from ..._fit import Fit, Make
from ..._kinds import type_name
from ..._names import Names
from ..._walk import Walk
from ..protocols import Stateful
from ..torch import proof_of_optimizer, sharded_as
from .kept import changed_by, inexact, plan_kept

_MAX_INNER = 8


def has_own_state(kind: type) -> bool:
    """Whether it is a class of optimizers that says itself what their state is."""
    return issubclass(kind, Optimizer) and kind.state_dict is not Optimizer.state_dict


def inner_optimizers(optimizer: Optimizer) -> dict[str, Optimizer]:
    """The optimizers that this one holds as attributes, or in lists and tuples there, by attribute."""
    found: dict[str, Any] = {}
    for name, value in vars(optimizer).items():
        if isinstance(value, list | tuple):
            found |= {f"{name}.{index}": each for index, each in enumerate(value)}
        else:
            found[name] = value
    return {
        name: each for name, each in found.items() if isinstance(each, Optimizer) and each is not optimizer
    }


class TorchOptimizer:
    name = "torch.optim.Optimizer"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, Optimizer) and not has_own_state(kind)

    def capture(self, value: Optimizer, walk: Walk, path: str) -> Node:
        state: dict[str, Node] = {}
        about: dict[str, Any] = {}
        # Modules that come later in the user's dict name their parameters first.
        walk.later.add(lambda: self.take(value, walk, path, state, about))
        return Object(self.name, type_name(type(value)), state, about)

    def take(
        self, value: Optimizer, walk: Walk, path: str, state: dict[str, Node], about: dict[str, Any]
    ) -> None:
        """Put its state and what is known about it into these."""
        names = parameter_names(value, walk.names, path)
        if walk.with_gates and inner_optimizers(value):  # a wrapper may write before the inner one steps
            for tensor in (*names, *_tensors_held(value)):
                walk.no_gate(tensor)
        within = walk.child(path, "state")
        state["state"] = walk.part(
            value,
            within,
            lambda: {
                name: walk.node(dict(value.state[parameter]), walk.child(within, name))
                for parameter, name in names.items()
                if parameter in value.state
            },
            lambda: proof_of_optimizer(value),
            given=(list(map(id, names)), list(names.values())),
        )
        others = {key: entry for key, entry in value.state.items() if not isinstance(key, torch.Tensor)}
        if others:
            state["others"] = walk.node(others, walk.child(path, "others"))
        groups = [
            {**group, "params": [names[parameter] for parameter in group["params"]]}
            for group in value.param_groups
        ]
        state["param_groups"] = walk.node(groups, walk.child(path, "param_groups"))
        if inner := inner_optimizers(value):
            below = walk.child(path, "inner")
            if below.count("/inner/") > _MAX_INNER:
                walk.refuse(path, type_name(type(value)), "Its optimizers hold each other.")
            state["inner"] = {name: walk.node(each, walk.child(below, name)) for name, each in inner.items()}
        if walk.with_gates and (gate := step_gate(value)) is not None:
            for tensor in (*names, *_tensors(list(value.state.values()))):
                walk.gate(tensor, gate)
        if kept := changed_by(value):
            state["kept"] = walk.node(kept, walk.child(path, "kept"))
        about |= inexact(value)
        about["shapes"] = {name: list(parameter.shape) for parameter, name in names.items()}

    def plan(self, live: Optimizer, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if taken is None:
            return fit.keep(live)
        return fit.put_off(lambda: self._plan(live, taken, fit, path))

    def _plan(self, live: Optimizer, taken: Object, fit: Fit, path: str) -> Make:
        saved_groups: list[dict[str, Any]] = taken.state.get("param_groups", [])
        pairs = _paired(live, saved_groups, taken.about.get("shapes", {}), fit, path)
        if not pairs and saved_groups != []:
            return fit.keep(live)
        saved_state: dict[str, Any] = taken.state.get("state", {})
        within = paths.child(path, "state")
        others = fit.fresh(taken.state.get("others", {}))
        states = {
            parameter: _plan_state(
                live.state.get(parameter, {}),
                saved_state.get(name, {}),
                _Place(paths.child(within, name), parameter, group),
                fit,
            )
            for group in live.param_groups
            for parameter in group["params"]
            # The others keep what they have: of a model that has grown, say.
            if (name := pairs.get(parameter)) is not None
        }
        options = [
            _plan_options(group, saved, fit, paths.item(paths.child(path, "param_groups"), index))
            for index, (group, saved) in enumerate(zip(live.param_groups, saved_groups, strict=True))
        ]

        mine = vars(live).get("param_groups")
        sharing = next((each for each in inner_optimizers(live).values() if each.param_groups is mine), None)
        saved_inner: dict[str, Node] = taken.state.get("inner", {})
        inner = [
            fit.into(each, saved_inner[name], paths.child(paths.child(path, "inner"), name))
            for name, each in inner_optimizers(live).items()
            if name in saved_inner
        ]

        kept = plan_kept(live, taken.state.get("kept", {}), fit, paths.child(path, "kept"))

        def act() -> Optimizer:
            for make in inner:
                make()
            for name, make in kept.items():
                vars(live)[name] = make()
            if sharing is not None:  # a loader makes new groups
                live.param_groups = sharing.param_groups
            for group, makes in zip(live.param_groups, options, strict=True):
                group.update({name: make() for name, make in makes.items()})
            for key in [key for key in live.state if not isinstance(key, torch.Tensor)]:
                del live.state[key]
            live.state.update(others())
            for parameter, makes in states.items():
                values = {name: make() for name, make in makes.items()}
                if values:
                    live.state[parameter] = values
                else:
                    live.state.pop(parameter, None)
            return live

        return act


class _StepGate:
    """Calls registered functions before an optimizer steps. Its hook stays on the optimizer: hooks must not
    be removed while they are run."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._calls: list[Callable[[], None]] = []
        self.handle = optimizer.register_step_pre_hook(self._before_step)
        hooks: Any = optimizer._optimizer_step_pre_hooks
        # Before the hooks of others, which may write parameters.
        hooks.move_to_end(self.handle.id, last=False)

    def before(self, call: Callable[[], None]) -> Callable[[], None]:
        self._calls.append(call)
        return lambda: self._calls.remove(call)

    def _before_step(self, *_: Any) -> None:
        for call in tuple(self._calls):
            call()


def _wrapped_by_schedule(step: Any) -> Any:
    """What it calls, if a schedule made it; before torch 2.5 that is only in its closure."""
    wrapped = getattr(step, "__wrapped__", None)
    if wrapped is None and hasattr(step, "_wrapped_by_lr_sched"):
        wrapped = inspect.getclosurevars(step).nonlocals.get("func")
    return wrapped


_gates: WeakKeyDictionary[Optimizer, _StepGate] = WeakKeyDictionary()
_HOOKED = Optimizer.profile_hook_step(lambda optimizer: None).__code__


def step_gate(optimizer: Optimizer) -> _StepGate | None:
    """The gate of this optimizer's step; None if it can step without calling its hooks."""
    step = vars(optimizer).get("step")  # schedules wrap it, and mark that; others may do anything
    if step is not None and _wrapped_by_schedule(step) is not type(optimizer).step:
        return None
    if getattr(type(optimizer).step, "__code__", None) is not _HOOKED:
        return None  # a wrapper around an optimizer, or compiled
    if any(group.get("capturable") for group in optimizer.param_groups):
        return None  # may be part of a captured graph, which calls no hooks
    gate = _gates.get(optimizer)
    if gate is None or gate.handle.id not in optimizer._optimizer_step_pre_hooks:
        gate = _gates[optimizer] = _StepGate(optimizer)
    return gate


def _tensors_held(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    """The tensors in its state and in that of the optimizers inside it."""
    yield from _tensors(list(optimizer.state.values()))
    for inner in inner_optimizers(optimizer).values():
        yield from _tensors_held(inner)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    match value:
        case torch.Tensor():
            yield value
        case dict():
            for entry in value.values():
                yield from _tensors(entry)
        case list() | tuple():
            for entry in value:
                yield from _tensors(entry)


def parameter_names(optimizer: Optimizer, known: Names, path: str) -> dict[torch.Tensor, str]:
    """For each parameter its path, relative to where the optimizer stands; else its index in the groups.

    A name that is relative must not look like one that is not: either all are, or none.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found = [known.of(parameter) for parameter in parameters]
    beside = path.rpartition("/")[0]
    prefix = f"{beside}/" if beside else ""
    if not all(name is None or name.startswith(prefix) for name in found):
        prefix = ""
    names = [str(index) if name is None else name.removeprefix(prefix) for index, name in enumerate(found)]
    if len(set(names)) < len(names):  # a parameter that is itself called "3"
        names = [str(index) for index in range(len(names))]
    return dict(zip(parameters, names, strict=True))


def _paired(
    live: Optimizer, saved_groups: Sequence[Mapping[str, Any]], shapes: Mapping[str, Any], fit: Fit, path: str
) -> dict[torch.Tensor, str]:
    """The saved name for each live parameter that fits: by name, or by position where one side has no names."""
    sizes = [len(group["params"]) for group in live.param_groups]
    saved_sizes = [len(group["params"]) for group in saved_groups]
    if len(sizes) != len(saved_sizes):
        fit.problem(
            path, f"{len(saved_sizes)} parameter groups were saved, the live optimizer has {len(sizes)}"
        )
        return {}
    names = parameter_names(live, fit.names, path)
    pairs: dict[torch.Tensor, str] = {}
    for index, (group, saved) in enumerate(zip(live.param_groups, saved_groups, strict=True)):
        here, there = [names[parameter] for parameter in group["params"]], list(saved["params"])
        nameless = all(map(str.isdigit, here)) or all(map(str.isdigit, there))
        for name in () if nameless else sorted({*here} ^ {*there}):
            side = (
                "the live optimizer has no such parameter" if name in there else "is not in the saved state"
            )
            fit.problem(path, f"in group {index}, {name!r}: {side}")
        if nameless and len(here) != len(there):
            fit.problem(
                path, f"group {index} was saved with {len(there)} parameters, the live one has {len(here)}"
            )
            continue
        names_here = there if nameless else here
        known = {*there}
        pairs.update(
            (each, name) for each, name in zip(group["params"], names_here, strict=True) if name in known
        )
    for parameter, name in [*pairs.items()]:
        if name in shapes and parameter.shape != tuple(shapes[name]):
            del pairs[parameter]
            fit.problem(
                path,
                f"{name!r} was saved with shape {shapes[name]}, the live one has {list(parameter.shape)}",
            )
    return pairs


def _plan_state(
    there: Mapping[str, Any], saved: Mapping[str, Node], place: _Place, fit: Fit
) -> dict[str, Make]:
    """What is known of one parameter: existing tensors are filled, others are made where they belong.

    Of a parameter whose state was left out, or a part of it, all stays as it is.
    """
    if is_left_out(saved) or any(map(is_left_out, saved.values())):
        stay = fit.left_out(dict(there), place.path)
        return {name: partial(lambda name: stay()[name], name) for name in there}
    return {name: _plan_value(there.get(name), name, node, place, fit) for name, node in saved.items()}


def _plan_value(there: Any, name: str, node: Node, place: _Place, fit: Fit) -> Make:
    if not isinstance(there, torch.Tensor):
        there = sharded_as(place.parameter, fit.resolve(node))  # no process makes the entire array
    if isinstance(there, torch.Tensor):
        return fit.into(there, node, paths.child(place.path, name))
    return _moved(fit.fresh(node), place.device(name), place.parameter)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the state of `parameter` is in the tree, and on which device it belongs."""

    path: str
    parameter: torch.Tensor
    group: Mapping[str, Any]

    def device(self, name: str) -> torch.device:
        on_device = name != "step" or self.group.get("capturable") or self.group.get("fused")
        return self.parameter.device if on_device else torch.device("cpu")


def _moved(make: Make, device: torch.device, parameter: torch.Tensor) -> Make:
    def moved(value: Any) -> Any:
        match value:
            case torch.Tensor():
                return laid_out_as(parameter, value.to(device))
            case list():
                return [moved(entry) for entry in value]
            case dict():
                return {key: moved(entry) for key, entry in value.items()}
            case _:
                return value

    return lambda: moved(make())


def laid_out_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`value`, with the strides of `parameter` if it has its shape: fused kernels pair items by where they lie."""
    if (
        value.layout != torch.strided
        or parameter.layout != torch.strided
        or value.shape != parameter.shape
        or value.stride() == parameter.stride()
    ):
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def lay_out(optimizer: Optimizer) -> None:
    """Give what an optimizer's own loader has put into its state the strides of its parameters."""
    for parameter, state in optimizer.state.items():
        if isinstance(parameter, torch.Tensor) and isinstance(state, dict):
            for name, value in state.items():
                if isinstance(value, torch.Tensor):
                    state[name] = laid_out_as(parameter, value)
    for inner in inner_optimizers(optimizer).values():
        lay_out(inner)


def _plan_options(group: dict[str, Any], saved: Mapping[str, Node], fit: Fit, path: str) -> dict[str, Make]:
    """The checkpoint's hyperparameters; those that a newer optimizer has added keep their value."""
    return {
        name: _plan_option(group.get(name), node, fit, paths.child(path, name))
        for name, node in saved.items()
        if name != "params"
    }


def _plan_option(live: Any, node: Node, fit: Fit, path: str) -> Make:
    if isinstance(live, torch.Tensor) and isinstance(node, int | float):
        return lambda: live.fill_(node)
    return fit.into(live, node, path) if isinstance(live, torch.Tensor) else fit.fresh(node)


# A scheduler's loader updates `__dict__`, and those of the schedulers it holds.
_scheduler = Stateful("state_dict", "load_state_dict", base=LRScheduler, exact=True)

ADAPTERS = (TorchOptimizer(), _scheduler)
