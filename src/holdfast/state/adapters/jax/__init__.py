"""JAX: arrays, typed random keys, and objects of the classes that are registered as pytrees."""

from ._arrays import Array as _Array
from ._arrays import Key as _Key
from ._arrays import make_array as _make_array
from ._pytrees import Pytree as _Pytree
from ._pytrees import RegisteredDataclass as _RegisteredDataclass

ADAPTERS = (_Array(), _Key(), _RegisteredDataclass(), _Pytree())
MAKERS = {"jax": _make_array}

__all__ = [
    "ADAPTERS",
    "MAKERS",
]
