"""What kind of variable a value is: data, an object with a protocol, one whose attributes count, or none of these."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    GenericAlias,
    MethodType,
    ModuleType,
    SimpleNamespace,
    UnionType,
)
from typing import Any, Final

import numpy as np

from .. import rng, state
from ..plain_attributes import slots_of
from ._frames import is_own_class
from ._opaque.observers import is_observer

SCALARS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
NUMBERS: Final = frozenset({bool, int, float})
_VALUES = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    enum.Enum,
    PurePath,
    np.generic,
    bytearray,
    range,
    slice,
)
CONTAINERS: Final = (dict, list, tuple, set, frozenset, collections.deque)
_WITHOUT_KEYS: Final[tuple[Any, ...]] = CONTAINERS[1:]
_STANDARD_CONTAINERS = frozenset(
    {*CONTAINERS, collections.OrderedDict, collections.defaultdict, collections.Counter}
)
_HAVE_VALUES: Final = frozenset({"array", "decimal", "fractions", "numpy", "pandas", "scipy", "uuid"})
_RNGS = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_TYPES = (type, GenericAlias, UnionType)
_NOT_WALKED = (BaseException, *_TYPES, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
_ENVIRONMENTS: Final = frozenset({"gymnasium", "gym", "stable_baselines3"})
_DATA_OF_TORCH: Final = frozenset(
    f"torch.utils.data.{name}" for name in ("dataloader", "dataset", "distributed", "sampler")
)
_LOADERS_OWN: Final = frozenset(
    {
        "_iterator",
        "_dataset_kind",
        "_IterableDataset_len_called",
        "_DataLoader__initialized",
        "_DataLoader__multiprocessing_context",
    }
)
_DEEPEST = 20


def torch() -> Any:
    """torch, if the script has imported it."""
    return sys.modules.get("torch")


def is_tensor(value: Any) -> bool:
    loaded = sys.modules.get("torch")
    return loaded is not None and isinstance(value, loaded.Tensor) and not is_spread(value)


def is_spread(value: Any) -> bool:
    """Whether it is a DTensor: an object that holds a part of an array, and has no memory of its own."""
    loaded: Any = sys.modules.get("torch.distributed.tensor")
    return loaded is not None and isinstance(value, loaded.DTensor)


def token_of_spread(value: Any) -> tuple[int, int, int]:
    """What is another one once a DTensor was written, or is another one."""
    from ..state.adapters.torch import token_of

    return token_of(value)


def is_module(value: Any) -> bool:
    loaded = sys.modules.get("torch")
    return loaded is not None and isinstance(value, loaded.nn.Module)


def is_of_torch_data(value: Any) -> bool:
    """Whether it is a loader, dataset or sampler of torch's own."""
    return type(value).__module__.startswith("torch.utils.data.") and not is_iterator(value)


def is_rng(value: Any) -> bool:
    return isinstance(value, _RNGS) or (torch() is not None and isinstance(value, torch().Generator))


def is_jax_array(value: Any) -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.Array)


def is_array(value: Any) -> bool:
    return (
        (isinstance(value, np.ndarray) and not value.dtype.hasobject)
        or is_tensor(value)
        or is_jax_array(value)
    )


def items_of(value: Any) -> list[tuple[Any, Any]]:
    """The keys, or numbers, and items of a container, without the code of its class."""
    if isinstance(value, Mapping):
        return list(dict.items(value) if isinstance(value, dict) else value.items())
    return list(enumerate(value.reshape(-1) if is_object_array(value) else _items(value)))


def is_object_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def is_value(value: Any) -> bool:
    """Whether it is data of a library's own making: a decimal, a table, a sparse or masked array."""
    kind = type(value)
    return kind.__module__.partition(".")[0] in _HAVE_VALUES and state.is_value(kind)


def is_data(value: Any, depth: int = 0) -> bool:
    """Whether a value is nothing but data: scalars, arrays, RNGs, and standard containers of these."""
    kind = type(value)
    if kind in SCALARS or isinstance(value, _VALUES) or is_array(value) or is_rng(value) or is_value(value):
        return True
    if depth > _DEEPEST:
        return False
    if is_array_of_objects(value):
        return all(is_data(each, depth + 1) for each in value.flat)
    if is_own_container(value):
        parts = [*attributes(value).values(), *(_items(value) if isinstance(value, CONTAINERS) else ())]
        return all(is_data(each, depth + 1) for each in parts)
    if not isinstance(value, CONTAINERS):
        return False
    if kind not in _STANDARD_CONTAINERS and not (isinstance(value, tuple) and hasattr(value, "_fields")):
        return False
    if isinstance(value, Mapping | set | frozenset) and any(map(is_found_by_identity, value)):
        return False  # what comes back are other keys, by which nothing is found
    items = values_of(value)
    if set(map(type, items)) <= SCALARS:
        return True
    return all(is_data(each, depth + 1) for each in items)


def is_frozen_data(value: Any) -> bool:
    """Whether it is a frozen dataclass of the script's own that holds nothing but data: what is there now says of which class."""
    params = getattr(type(value), "__dataclass_params__", None)
    if params is None or not params.frozen or isinstance(value, type) or not is_own_class(type(value)):
        return False
    held = attributes(value)
    is_all = held.keys() == {field.name for field in dataclasses.fields(value)}
    return is_all and not has_protocol(value) and all(map(is_data, held.values()))


def is_found_by_identity(key: Any) -> bool:
    """Whether nothing is found by a key that is made again: a tensor, a module, or an object of the script that is equal only to itself."""
    if type(key) in SCALARS:
        return False
    if is_tensor(key) or is_module(key) or isinstance(key, type | FunctionType):
        return True
    if type(key) is tuple:
        return any(map(is_found_by_identity, key))
    return type(key).__hash__ is object.__hash__ and is_own_class(type(key))


def _items(value: Any) -> Iterable[Any]:
    """The items of a container, without the code of a class of the script, which may draw, or fail, while it is gone through."""
    if isinstance(value, dict):
        return dict.values(value)
    if isinstance(value, Mapping):
        return value.values()
    for kind in _WITHOUT_KEYS:
        if isinstance(value, kind):
            return kind.__iter__(value)
    return value


def values_of(value: Any) -> list[Any]:
    """As a list; see `_items`."""
    return list(_items(value))


def name_of_item(index: Any) -> str | None:
    """A key of a dict as a part of a name; None if it is not the same in another process."""
    is_plain = type(index) in SCALARS or isinstance(index, enum.Enum)
    if not is_plain and not (type(index) is tuple and all(type(each) in SCALARS for each in index)):
        return None
    said = index if isinstance(index, str) else repr(index)
    return said if isinstance(index, str) else said.replace(".", "_")


def is_array_of_objects(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "OT"


def is_own_container(value: Any) -> bool:
    """Whether it is a dict or a list of a class of its own, which may hold more than its items; or a `UserDict`."""
    kind = type(value)
    may_be = isinstance(value, (*CONTAINERS, collections.UserDict, collections.UserList))
    return (
        may_be and kind not in _STANDARD_CONTAINERS and not has_protocol(value) and state.is_container(kind)
    )


def _keras() -> Any:
    """Keras, if the script has imported it, and entirely."""
    found = sys.modules.get("keras")
    return found if hasattr(found, "random") and hasattr(found, "Variable") else None


def is_of_keras(value: Any) -> bool:
    """Whether it keeps what it has learned or counted in variables of Keras; an optimizer is looked for where it works."""
    keras = _keras()
    return keras is not None and isinstance(
        value, keras.Variable | keras.metrics.Metric | keras.layers.Layer | keras.random.SeedGenerator
    )


def keras_values(value: Any) -> Any:
    """What is of Keras, as an object with a protocol."""
    from ..state.adapters.keras import KerasValues

    return KerasValues(value)


def saved_with_keras(value: Any) -> Iterable[Any]:
    """What of Keras is saved along with a model or layer; nothing for all else."""
    keras = _keras()
    if keras is None or not isinstance(value, keras.layers.Layer):
        return ()
    from ..state.adapters.keras import saved_with

    return saved_with(value)


def has_protocol(value: Any) -> bool:
    """Whether it gives its state and takes it back."""
    kind = type(value)
    return all(callable(getattr(kind, name, None)) for name in ("state_dict", "load_state_dict"))


def state_of(value: Any) -> Any:
    """What its `state_dict` gives; nothing is drawn by asking."""
    with nullcontext() if type(value).__module__.startswith("torch.") else rng.preserved():
        return value.state_dict()


def is_unread_loader(value: Any) -> bool:
    """Whether it is a loader of torch or torchdata that nobody has read from: asking it for its state would start it, and draw."""
    nodes = sys.modules.get("torchdata.nodes")
    if is_loader_of_torch(value):
        return value._iterator is None
    return nodes is not None and isinstance(value, nodes.Loader) and value._it is None


def has_own_attributes(value: Any) -> bool:
    """Whether its attributes count as variables: of the script's own class, a namespace, an environment of gymnasium, torch's loaders,
    datasets and samplers."""
    return not isinstance(value, _NOT_WALKED) and _has_own_attributes(type(value))


@lru_cache(maxsize=4096)
def _has_own_attributes(kind: type) -> bool:
    return (
        issubclass(kind, argparse.Namespace | SimpleNamespace)
        or is_own_class(kind)
        or (kind.__module__ in _DATA_OF_TORCH and not hasattr(kind, "__next__"))
        or any(
            each.__module__.partition(".")[0] in _ENVIRONMENTS
            and each.__name__ in ("Env", "VectorEnv", "VecEnv", "Space")
            for each in kind.__mro__
        )
    )


def is_in_other_processes(value: Any) -> bool:
    """Whether it is a vector of environments that it only sends messages to."""
    if not any(each.__module__.partition(".")[0] in _ENVIRONMENTS for each in type(value).__mro__):
        return False
    processes = getattr(value, "__dict__", {}).get("processes")
    return isinstance(processes, list | tuple) and any(isinstance(each, BaseProcess) for each in processes)


def is_ignored(value: Any) -> bool:
    """Whether nothing is to be said of it: code, and what only looks at training."""
    return (
        isinstance(value, _NOT_WALKED)
        or type(value).__module__ == "typing"  # as `Optional[int]` is
        or (is_observer(type(value)) and not (has_own_attributes(value) or _keeps_state(value)))
        or (
            callable(value)
            and not (is_iterator(value) or has_protocol(value) or is_database(value))
            and not _can_hold(value)
        )
    )


def is_database(value: Any) -> bool:
    """Whether it is a connection of sqlite, which can be called, too."""
    sqlite = sys.modules.get("sqlite3")
    return sqlite is not None and isinstance(value, sqlite.Connection)


def _keeps_state(value: Any) -> bool:
    """Whether it gives its state and takes it back; what accelerate wraps is saved by `hold`, or named."""
    return has_protocol(value) and not type(value).__module__.startswith("accelerate.")


def _can_hold(value: Any) -> bool:
    """Whether an object has room for attributes: a function of compiled code has none."""
    return hasattr(value, "__dict__") or any(slots_of(kind) for kind in type(value).__mro__)


def is_iterator(value: Any) -> bool:
    return hasattr(type(value), "__next__")


def position_of(value: Any) -> Any:
    """Where an iterator is, as something to compare; None if it cannot be told."""
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        if frame is None:
            return "at its end"
        plain = {name: each for name, each in frame.f_locals.items() if type(each) in SCALARS}
        return frame.f_lasti, repr(plain)
    for name in ("_num_yielded", "line_num"):  # of a torch loader, of a reader of csv
        if isinstance(counted := getattr(value, name, None), int):
            return counted
    if type(value).__module__ == "itertools" and type(value).__name__ in ("count", "repeat"):
        return repr(value)
    left: Callable[[], int] | None = getattr(value, "__length_hint__", None)
    return None if left is None or type(value).__module__ != "builtins" else left()


def is_loader_of_torch(value: Any) -> bool:
    """Whether it is a `torch.utils.data.DataLoader`, of whatever class."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(value, data.DataLoader)


def set_attribute(owner: Any, name: str, new: Any) -> None:
    """Let an attribute be `new`; a loader of torch forbids it for reasons that do not hold between two epochs."""
    if is_loader_of_torch(owner):
        object.__setattr__(owner, name, new)
    else:
        setattr(owner, name, new)


def attributes(value: Any) -> dict[str, Any]:
    """The attributes that an object itself has, slots included; of a torch module or loader without what torch keeps there."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name in slots_of(kind):
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
    if is_module(value):
        kept_by_torch = {*_torch_attributes(), "_parameters", "_buffers", "_modules"}
        found = {name: each for name, each in found.items() if name not in kept_by_torch}
    elif is_loader_of_torch(value):
        found = {name: each for name, each in found.items() if name not in _LOADERS_OWN}
    return found


@lru_cache(maxsize=1)
def _torch_attributes() -> frozenset[str]:
    return frozenset(torch().nn.Module().__dict__) | {
        "_flat_weights",
        "_flat_weight_refs",
        "_is_full_backward_hook",
    }


def device_of(value: Any) -> str | None:
    """Where the first tensor in `value` is that is not in host memory; None if there is none."""
    if is_tensor(value):
        return None if value.device.type == "cpu" else str(value.device)
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | collections.deque):
        return None
    return next((device for each in value if (device := device_of(each)) is not None), None)


def on_device(value: Any, device: str) -> Any:
    """`value` with its tensors there: containers that can change are the same, others new."""
    if is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = on_device(each, device)
    elif isinstance(value, list | tuple | collections.deque):
        moved = [on_device(each, device) for each in value]
        return (
            collections.deque(moved, value.maxlen)
            if isinstance(value, collections.deque)
            else type(value)(moved)
        )
    return value
