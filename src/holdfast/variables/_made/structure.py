"""How an object is built: whether a copy of another one can take its state, and what it refers to."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Any, Final

from ... import paths, rng
from .._kinds import (
    SCALARS,
    attributes,
    has_own_attributes,
    has_protocol,
    is_data,
    is_ignored,
    is_iterator,
    is_module,
    is_tensor,
    items_of,
)
from .._looks.code import is_code
from .._shared.adapted import Adapted
from .._shared.places import has_groups

CONTAINERS_MADE: Final[dict[str, Any]] = {
    each.__name__: each for each in (list, dict, OrderedDict, deque, tuple)
}
_NO_STATE: Final = frozenset(
    {"_opt_called", "_warned_capturable_if_run_uncaptured", "_zero_grad_profile_name"}
)
"""Attributes of optimizers that torch does not copy, as they decide nothing."""
_PLAIN_KEYS: Final = SCALARS - {complex, bytes}


def is_stateful(value: Any) -> bool:
    """Whether an object keeps a state that can be saved."""
    if is_code(value) or is_data(value) or is_ignored(value) or is_iterator(value):
        return False
    return is_module(value) or has_protocol(value) or has_own_attributes(value)


def structure_of(value: Any) -> Hashable:
    """What two objects have in common if the state of one fits the other; without the values of their tensors."""
    if is_module(value):
        tensors = [
            *value.named_parameters(remove_duplicate=False),
            *value.named_buffers(remove_duplicate=False),
        ]
        first = dict[int, str]()
        return (
            *((name, _called(each)) for name, each in value.named_modules(remove_duplicate=False)),
            *(
                (name, first.setdefault(id(each), name), each.shape, each.dtype, each.device)
                for name, each in tensors
            ),
        )
    if has_groups(value):
        return _called(value), *((len(each["params"]), *sorted(each)) for each in value.param_groups)
    return _called(value)


def _called(value: Any) -> tuple[str, str]:
    return type(value).__module__, type(value).__qualname__


def links_of(value: Any) -> dict[str, Any]:
    """The objects in it that may be elsewhere, too, by how they are reached: layers and tensors of a model, what an optimizer drives."""
    if is_module(value):
        named = [
            *value.named_modules(remove_duplicate=False),
            *value.named_parameters(remove_duplicate=False),
            *value.named_buffers(remove_duplicate=False),
        ]
        return {name: each for name, each in named if name}
    if has_groups(value):
        return {
            f"{number}.{index}": each
            for number, group in enumerate(value.param_groups)
            for index, each in enumerate(group["params"])
        }
    if has_own_attributes(value):
        return {}  # which object is in its attributes is noted of each
    return {name: each for name, each in getattr(value, "__dict__", {}).items() if is_stateful(each)}


def place_in(root: str, link: str) -> str:
    """The text of the place of a part of the model that is at `root`."""
    return json.dumps([root, "/".join(paths.child("", each) for each in link.split("."))])


def tensors_of(value: Any) -> Iterator[Any]:
    """Those of a model."""
    if is_module(value):
        yield from value.parameters()
        yield from value.buffers()


def can_be_copied(value: Any) -> bool:
    """Whether a deep copy has all that it has; its tensors and data are not copied to find out."""
    if is_module(value):
        held = [each for part in value.modules() for each in vars(part).values()]
        return not any(is_tensor(each) and not each.is_leaf for each in held)
    if Adapted.of(value) is not None:
        return True
    there = attributes(value)
    memo = {id(each): each for each in there.values() if is_data(each) or is_module(each)}
    if has_groups(value):
        memo |= {id(each): each for each in links_of(value).values()}
        memo[id(value.state)] = value.state
    memo |= {id(each): each for each in there.values() if is_stateful(each)}
    try:
        with rng.preserved():
            made = copy.deepcopy(value, memo)
    except Exception:  # of the object's own, or of what it holds
        return False
    lost = there.keys() - attributes(made).keys()
    return all(is_code(there[name]) or name.endswith("_hooks") or name in _NO_STATE for name in lost)


def keys_of(value: Any) -> list[Any] | None:
    """The keys of a container that can be made again, in their order; None if there is one that is not plain."""
    if type(value) not in CONTAINERS_MADE.values():
        return None
    keys = [key for key, _ in items_of(value)]
    return keys if {*map(type, keys)} <= _PLAIN_KEYS else None
