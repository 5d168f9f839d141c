"""JAX: arrays, typed random keys, and objects of the classes that are registered as pytrees."""

from ._arrays import Array, Key, make_array
from ._pytrees import Pytree, RegisteredDataclass

ADAPTERS = (Array(), Key(), RegisteredDataclass(), Pytree())
MAKERS = {"jax": make_array}

__all__ = [
    "ADAPTERS",
    "MAKERS",
]
