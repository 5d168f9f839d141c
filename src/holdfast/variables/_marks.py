"""Whether a value is what it was: marks that are equal as long as it did not change, in place neither.

A mark is compared within one process only. What is large is looked at in full as long as that costs little of the time
that the run trains; from then on at samples, and that is said.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from xxhash import xxh3_128_digest

from .. import rng, state
from ._kinds import (
    CONTAINERS,
    NUMBERS,
    SCALARS,
    attributes,
    is_array,
    is_array_of_objects,
    is_frozen_data,
    is_jax_array,
    is_module,
    is_own_container,
    is_rng,
    is_tensor,
    is_unread_loader,
    is_value,
    state_of,
    torch,
    values_of,
)
from ._looks.budget import Budget
from ._shared.adapted import Adapted

_SMALL_BYTES: Final = 1 << 20  # looked at in full, always
_MANY_ITEMS: Final = 10_000
_SAMPLES: Final = 4096
_GLANCED_AT: Final = 64  # items of each array of a module
_SHARE: Final = 0.01
_FREE_LOOKS: Final = 3
Mark = Hashable


class Marks:
    """Makes marks, at a bounded cost.

    Attributes:
        sampled: what was too large to be looked at in full, by the name that it was looked at under.
    """

    def __init__(self) -> None:
        self.sampled: set[str] = set()
        self._looks: dict[str, int] = {}
        self._open: set[int] = set()  # the ids of the containers that are being looked at
        self._budget = Budget()  # for what is large

    def of(self, value: Any, name: str) -> Mark:
        """The mark of `value`, which is data."""
        return self._of(value, name)

    def of_state(self, value: Any, name: str) -> Mark:
        """The mark of an object that has a `state_dict`; of a torch module where its arrays are, how often written, and some items.

        A write through `.data` counts in no version: it is seen by what it has changed.
        """
        if is_module(value):
            arrays = [each for each in (*value.parameters(), *value.buffers()) if each.device.type != "meta"]
            return tuple((_address(each), _version(each), _glance(each)) for each in arrays)
        if isinstance(value, Adapted):
            return value.looks, *(
                (str(each.dtype), each.shape, self._digest(each, name))
                for each in map(np.asarray, value.arrays)
            )
        if is_unread_loader(value):
            return type(value)
        return self._of(state_of(value), name)

    def _of(self, value: Any, name: str) -> Mark:
        kind = type(value)
        if kind in SCALARS:
            return kind, value if kind in (int, bool) or value is None else repr(value)
        if is_value(value):
            return kind, *self._parts(value, name)
        if is_tensor(value) and _is_made_of_others(value):
            walk = state.Walk()
            return (
                kind,
                repr(walk.run(value, "")),
                *(self._array(live.owner, name) for _, live in walk.arrays),
            )
        if is_array(value):
            return self._array(value, name)
        if is_rng(value):
            return kind, self._of(rng.generator_state(value), name)
        if is_array_of_objects(value):
            return value.shape, self._container([*value.flat], name)
        if is_frozen_data(value):
            return kind, self._container(attributes(value), name)
        if is_own_container(value):
            items = self._container(value, name) if isinstance(value, CONTAINERS) else ()
            return items, self._container(attributes(value), name)
        if isinstance(value, CONTAINERS):
            return self._container(value, name)
        return kind, repr(value)  # of objects without a look of their own: which one it is

    def _container(self, value: Any, name: str) -> Mark:
        if id(value) in self._open:
            return type(value), "that contains itself"
        self._open.add(id(value))
        try:
            return self._of_items(value, name)
        finally:
            self._open.discard(id(value))

    def _of_items(self, value: Any, name: str) -> Mark:
        kind: Hashable = type(value)
        length = len(value)
        if isinstance(value, set | frozenset):
            members = frozenset(values_of(value))
            return kind, length, members if length < _MANY_ITEMS else hash(members)
        items = values_of(value)
        keys = tuple(value) if isinstance(value, Mapping) else ()
        kinds = set(map(type, items))
        if kinds <= NUMBERS and (digest := _digest_of_numbers(items)) is not None:
            return kind, keys, length, digest
        if length > _MANY_ITEMS:
            self.sampled.add(name)
            step = length // 1000
            if not kinds <= SCALARS:
                kind = kind, _forms(items)  # of all, as one of them may have grown
            items, keys = [*items[:100], *items[100:-100:step], *items[-100:]], keys[-100:]
        if kinds <= SCALARS:
            return kind, keys, length, xxh3_128_digest(repr(items).encode("utf-8", "surrogatepass"))
        return kind, keys, length, tuple(self._of(each, name) for each in items)

    def _parts(self, value: Any, name: str) -> Iterator[Mark]:
        """What is saved of a library's value; of a long table its plain columns, and of the others some rows."""
        looks, arrays = [value], []
        if hasattr(value, "memory_usage") and value.size > _MANY_ITEMS:  # of pandas
            some = slice(None, None, max(1, len(value) // 1000))
            kinds = {value.dtype} if value.ndim == 1 else set(value.dtypes)
            plain = {each for each in kinds if isinstance(each, np.dtype) and each.kind != "O"}
            looks = [value[some]]
            if plain != kinds:
                self.sampled.add(name)
            if value.ndim == 1 or (plain == kinds and len(kinds) == 1):
                arrays = [value] if plain else []
                looks = [value.columns, value.index[some]] if value.ndim == 2 else looks
            else:
                columns = (column for _, column in value.items())
                arrays = [each for each in columns if each.dtype in plain]
        for look in looks:
            walk = state.Walk()
            yield repr(walk.run(look, ""))
            arrays += [live.owner for _, live in walk.arrays]
        for each in map(np.asarray, arrays):  # pandas gives them read-only, and yet writes them
            yield str(each.dtype), each.shape, self._digest(each, name)

    def _array(self, value: Any, name: str) -> Mark:
        if is_jax_array(value):
            return "jax", id(value)  # it never changes in place
        facts: tuple[Hashable, ...] = (type(value), str(value.dtype), tuple(value.shape))
        if is_tensor(value):
            if value.device.type != "cpu" or str(value.layout) != "torch.strided" or value.is_quantized:
                is_meta = value.device.type == "meta" or str(value.layout) != "torch.strided"
                return (*facts, 0 if is_meta else value.data_ptr(), _version(value))
            value = _as_numpy(value)
        elif not value.flags.writeable and value.nbytes > _SMALL_BYTES:
            return *facts, value.__array_interface__["data"][0]  # read from a file: nobody writes it
        return *facts, self._digest(value, name)

    def _digest(self, array: np.ndarray, name: str) -> Hashable:
        if array.nbytes <= _SMALL_BYTES:
            return xxh3_128_digest(np.ascontiguousarray(array).tobytes())
        looks = self._looks[name] = self._looks.get(name, 0) + 1
        if looks > _FREE_LOOKS and self._budget.is_used_up(_SHARE):
            self.sampled.add(name)
            return self._sample(array)
        with self._budget.spending():
            full = xxh3_128_digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            return _Full((full, *self._sample(array)))

    @staticmethod
    def _sample(array: np.ndarray) -> tuple[bytes]:
        flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel(order="K")
        step = max(1, flat.size // _SAMPLES)
        return (xxh3_128_digest(np.ascontiguousarray(flat[::step]).tobytes()),)


class _Full:
    """The digest of an entire array and that of its samples: equal to another such, and to samples of the same array."""

    def __init__(self, mark: tuple[bytes, bytes]) -> None:
        self._mark = mark

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Full):
            return self._mark == other._mark
        return other == (self._mark[1],)

    def __hash__(self) -> int:
        return hash(self._mark[1])


def _forms(items: list[Any]) -> bytes:
    """Which objects these are, and how long each one is that has a length."""
    told = [0 if type(each) in SCALARS else id(each) for each in items]
    lengths = [len(each) if isinstance(each, CONTAINERS) else 0 for each in items]
    return xxh3_128_digest(np.array([told, lengths], np.int64).tobytes())


def _digest_of_numbers(items: list[Any]) -> bytes | None:
    """Of many numbers at once; None where one of them is too large."""
    if len(items) < 16:
        return None
    kinds = set(map(type, items))
    if len(kinds) > 1:
        return None
    try:
        return xxh3_128_digest(np.array(items, np.float64 if kinds == {float} else np.int64).tobytes())
    except OverflowError:
        return None


def _is_made_of_others(tensor: Any) -> bool:
    """Whether it is sparse or nested, and so has no memory of its own."""
    return not tensor.is_meta and (tensor.is_nested or str(tensor.layout).startswith("torch.sparse_"))


def _address(tensor: Any) -> int:
    return 0 if _is_made_of_others(tensor) else tensor.data_ptr()


def _version(tensor: Any) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _glance(tensor: Any) -> bytes | None:
    """Some items of a dense tensor, all of one that is small."""
    if _is_made_of_others(tensor) or tensor.is_quantized or not tensor.is_contiguous():
        return None
    flat = tensor.detach().reshape(-1)
    some = flat[:: max(1, flat.numel() // _GLANCED_AT)].cpu()
    return _as_numpy(some).tobytes()


def _as_numpy(tensor: Any) -> np.ndarray:
    """The bytes of a CPU tensor as an array, where they are if they lie in a row."""
    detached = tensor.detach()
    if detached.is_conj() or detached.is_neg():
        detached = detached.resolve_conj().resolve_neg()
    if not detached.is_contiguous():
        detached = detached.contiguous()
    return detached.reshape(-1).view(torch().uint8).numpy() if detached.numel() else np.empty(0, np.uint8)
