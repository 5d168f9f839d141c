"""What tensors that are variables carry beside their values: the gradient, and attributes that the script gave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .._kinds import CONTAINERS, is_tensor, items_of, name_of_item

GRADIENT: Final = "grad"
_MOST_ITEMS: Final = 1000
_OF_COMPILERS: Final = "_dynamo_"


def tensors_in(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A tensor, or those that are items of a container, by key."""
    if is_tensor(value):
        yield key, value
    elif (
        isinstance(value, CONTAINERS) and len(value) <= _MOST_ITEMS and not isinstance(value, set | frozenset)
    ):
        for index, each in items_of(value):
            if is_tensor(each) and (name := name_of_item(index)) is not None:
                yield f"{key}.{name}", each


def gradient_of(tensor: Any) -> Any:
    """The gradient that a leaf has, which the next step may add to; None if it has none."""
    return tensor.grad if tensor.requires_grad and tensor.is_leaf else None


def attributes_of(tensor: Any) -> Mapping[str, Any]:
    """What was set on it, by the script or a library that trains; not by a compiler."""
    return {name: each for name, each in vars(tensor).items() if not name.startswith(_OF_COMPILERS)}


def holder_of(path: str, values: Mapping[str, Any]) -> Any:
    """The tensor at `scope/key`, among these values by such a path or in one that is a container; None if there is none."""
    if path in values:
        return values[path]
    above, _, name = path.rpartition(".")
    inside = values.get(above)
    if isinstance(inside, CONTAINERS):
        return next((each for index, each in items_of(inside) if name_of_item(index) == name), None)
    return None
