"""Arrays that lie in the memory of others: views, which follow what is written there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np

from .._kinds import is_array, is_jax_array, is_tensor, torch
from .places import Link, text_of

_MOST_WORK: Final = 100_000  # of NumPy, to find out whether two arrays overlap
_LARGEST_EXPANDED: Final = 64 << 20  # in bytes, if it had memory of its own
_CANNOT_BE_PUT: Final = "it lies in the memory of another array, and cannot be put there again"
Library: TypeAlias = Literal["torch", "numpy"]


class Unlike(ValueError):
    """It cannot be said how an array lies in another one."""


def address(array: Any) -> int | None:
    """Where the memory begins that an array lies in; None if it has none."""
    if isinstance(array, np.ndarray):
        while isinstance(array.base, np.ndarray):
            array = array.base
        if is_tensor(array.base):
            return address(array.base)
        return array.__array_interface__["data"][0] if array.nbytes else None
    if not is_tensor(array) or array.layout is not torch().strided or array.is_meta or not array.numel():
        return None
    return array.untyped_storage().data_ptr() or None


def addresses(arrays: Iterable[Any]) -> set[int]:
    """As `address`, of all of these."""
    if torch() is None:
        return {at for each in arrays if (at := address(each)) is not None}
    usual, strided = (torch().Tensor, torch().nn.Parameter), torch().strided
    found: set[int] = set()
    for each in arrays:
        if type(each) in usual and each.layout is strided and not each.is_meta:  # without a call for each
            if each.numel():
                found.add(each.untyped_storage().data_ptr())
        elif (at := address(each)) is not None:
            found.add(at)
    return found - {0}


def can_be_filled(value: Any) -> bool:
    """Whether it is an array that can be written: no view that is read-only, or of which several items share memory."""
    if isinstance(value, np.ndarray):
        return value.flags.writeable
    if not is_tensor(value):
        return False
    from ...state.adapters.torch import is_expanded

    return value.layout is not torch().strided or not is_expanded(value)


def fill_expanded(live: Any, now: Any) -> bool:
    """Write into a tensor of which several items share memory; False if it is no such, or these have other values there."""
    if not is_tensor(live) or can_be_filled(live) or (live.shape, live.dtype) != (now.shape, now.dtype):
        return False
    each_once = tuple(slice(0, 1) if step == 0 else slice(None) for step in live.stride())
    if not torch().equal(now[each_once].expand(live.shape), now):
        return False
    live.detach()[each_once].copy_(now[each_once])
    return True


def form(array: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], str]:
    """Where an array lies, and how: address, shape, strides in bytes, element type."""
    if is_tensor(array):
        item = _item_size(array)
        strides = tuple(each * item for each in array.stride())
        return array.data_ptr(), tuple(array.shape), strides, str(array.dtype)
    return array.__array_interface__["data"][0], array.shape, array.strides, str(array.dtype)


def overlap(one: Any, other: Any) -> bool:
    """Whether two arrays have an item in common, as far as can be told; then it is said to be so."""
    try:
        return np.shares_memory(_ghost(one), _ghost(other), max_work=cast(Any, _MOST_WORK))
    except (np.exceptions.TooHardError, ValueError):
        return True


def _ghost(array: Any) -> np.ndarray:
    """An array that lies there as well, and is never read."""
    at, shape, strides, _ = form(array)
    shown = {"version": 3, "data": (at, True), "shape": shape, "strides": strides}
    shown |= {"typestr": f"|V{_item_size(array)}"}
    return np.asarray(SimpleNamespace(__array_interface__=shown))


@dataclass(frozen=True, slots=True)
class View:
    """How an array lies in another one, in bytes from the beginning of that.

    Attributes:
        library: "torch" or "numpy", where the other one is of the other library.
    """

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    library: Library | None = None

    @classmethod
    def of(cls, array: Any, base: Any) -> View:
        """How `array` lies in `base`.

        Raises:
            Unlike: it is of another element type, or only partly in there, or `base` has gaps.
        """
        library = None if is_tensor(array) == is_tensor(base) else "torch" if is_tensor(array) else "numpy"
        (at, shape, strides, dtype), (begin, *_, of_base) = form(array), form(_seen_from(library, base))
        view = cls(at - begin, shape, strides, library)
        if dtype != of_base or not (_is_dense(base) and view.fits(base)):
            raise Unlike(_CANNOT_BE_PUT)
        return view

    @classmethod
    def read(cls, text: str) -> View | None:
        """That of a place's text; None if it is the place itself."""
        match json.loads(text):
            case [_, _, [int() as offset, [*shape], [*strides]]]:
                return cls(offset, tuple(shape), tuple(strides))
            case [_, _, [int() as offset, [*shape], [*strides], "torch" | "numpy" as library]]:
                return cls(offset, tuple(shape), tuple(strides), library)
            case _:
                return None

    def text(self, base: Link) -> str:
        """The text of the place in `base`."""
        of_other = [] if self.library is None else [self.library]
        return json.dumps([*json.loads(text_of(base)), [self.offset, self.shape, self.strides, *of_other]])

    def fits(self, base: Any) -> bool:
        """Whether all of it is in the array, which has no gaps, and begins where items of that do."""
        if not is_array(base) or is_jax_array(base) or not _is_dense(base):
            return False
        numbers, item = (self.offset, *self.shape, *self.strides), _item_size(base)
        return (
            all(type(each) is int and each >= 0 for each in numbers)
            and len(self.shape) == len(self.strides)
            and item > 0
            and all(each % item == 0 for each in (self.offset, *self.strides))
            and math.prod(self.shape) * item <= max(base.nbytes, _LARGEST_EXPANDED)
            and self.offset + _last(self.shape, self.strides) + _item_size(base) <= base.nbytes
        )

    def make(self, base: Any) -> Any:
        """The same in this array.

        Raises:
            ValueError: there is no room for it.
        """
        if not self.fits(base):
            raise ValueError("the array is another one now")
        base = _seen_from(self.library, base)
        if is_tensor(base):
            item = _item_size(base)
            strides = [each // item for each in self.strides]
            begin = base.storage_offset() + self.offset // item
            return base.detach().as_strided(self.shape, strides, begin)
        memory = base if base.flags.c_contiguous else base.T
        return np.ndarray(self.shape, base.dtype, memory, self.offset, self.strides)


def _seen_from(library: Library | None, array: Any) -> Any:
    """The array as one of this library, in the same memory.

    Raises:
        Unlike: it cannot be such.
    """
    try:
        match library:
            case "torch":
                return array if is_tensor(array) else torch().from_numpy(array)
            case "numpy":
                return array.detach().numpy() if is_tensor(array) else array
            case None:
                return array
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as err:  # on another device, or a type that only one of them has
        raise Unlike(_CANNOT_BE_PUT) from err


def _item_size(array: Any) -> int:
    return array.element_size() if is_tensor(array) else array.itemsize


def _is_dense(array: Any) -> bool:
    """Whether its items lie side by side, in whichever order of its axes."""
    if not is_tensor(array):
        return array.flags.c_contiguous or array.flags.f_contiguous
    expected = 1
    for stride, length in sorted(zip(array.stride(), array.shape, strict=True)):
        if length > 1 and stride != expected:
            return False
        expected *= length
    return True


def _last(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How far the last item lies behind the first, in bytes."""
    return sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
