"""JAX: arrays of every dtype, and typed random keys.

Neither is ever changed in place: a save keeps their memory instead of copying it, and a restore makes new ones.
(JAX copies before it reuses donated memory that NumPy still looks at.)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from .... import dtypes
from ....records import Leaf, Node, Object
from ..._fit import Fit, Make, said
from ..._kinds import type_name
from ..._live import FixedArray
from ..._rebuild import Read, new_array
from ..._walk import Walk


class Array:
    """`jax.Array`. A weakly typed one is an `Object`, for it promotes otherwise than what has the same bytes."""

    name = "jax.Array"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, jax.Array | jax.core.Tracer) and not _is_key_type(kind)

    def capture(self, value: jax.Array, walk: Walk, path: str) -> Node:
        if (why := _obstacle(value)) is not None:
            walk.refuse(path, *why)
        leaf = walk.array(
            path,
            dtype=walk.dtype_name(value.dtype, path),
            shape=value.shape,
            kind="jax",
            live=FixedArray(np.asarray(value)),
            identity=_Itself(value),
        )
        return Object(self.name, type_name(jax.Array), leaf, {"weak": True}) if value.weak_type else leaf

    def plan(self, live: jax.Array, node: Node, fit: Fit, path: str) -> Make:
        weak, leaf = _opened(node, fit)
        if not isinstance(leaf, Leaf):
            return fit.misfit(live, path, f"{said(node)} was saved, the live value is an array of JAX")
        if leaf.shape != live.shape or not _takes(live.dtype, leaf.dtype):
            what = f"{said(leaf)} was saved, the live array is {live.dtype.name} {list(live.shape)}"
            return fit.misfit(live, path, what)
        fit.need(leaf)
        return lambda: _placed(_weakened(new_array(leaf, fit.read), weak), live)

    def fresh(self, state: Any, taken: Object) -> Any:
        return _weakened(np.asarray(state), bool(taken.about.get("weak")))


class Key:
    """A typed random key, or an array of them, by its words; which generator they are for must stay the same."""

    name = "jax.random.key"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, jax.Array) and _is_key_type(kind)

    def capture(self, value: jax.Array, walk: Walk, path: str) -> Node:
        if (why := _obstacle(value)) is not None:
            walk.refuse(path, *why)
        implementation = jax.random.key_impl(value)
        if not isinstance(implementation, str):
            walk.refuse(path, f"key of a random generator that has no name ({implementation})")
        words = walk.node(jax.random.key_data(value), path)
        return Object(self.name, type_name(jax.Array), words, {"impl": implementation})

    def plan(self, live: jax.Array, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path)
        if taken is None:
            return fit.keep(live)
        here, saved = jax.random.key_impl(live), taken.about.get("impl")
        if here != saved:
            return fit.misfit(live, path, f"a key of {saved} was saved, the live one is of {here}")
        words = fit.into(jax.random.key_data(live), taken.state, path)
        return lambda: _placed(jax.random.wrap_key_data(words(), impl=here), live)

    def fresh(self, state: Any, taken: Object) -> jax.Array:
        return jax.random.wrap_key_data(jnp.asarray(state), impl=taken.about["impl"])


def _is_key_type(kind: type) -> bool:
    return kind.__name__ == "PRNGKeyArray"  # which is not public, and has no public kin


def _obstacle(value: jax.Array) -> tuple[str, str] | None:
    """What keeps an array from being saved, and what to do; None if nothing does."""
    if isinstance(value, jax.core.Tracer):
        return "value that is being traced", "Save outside of jit, grad and their like."
    if value.is_deleted():
        return "array whose memory was donated", "Save what the donating function has returned."
    if not value.is_fully_addressable:
        return "array that is partly in other processes", "Gather it first, or save each process's part."
    return None


def _takes(here: np.dtype, saved: str) -> bool:
    """Whether what is saved can stand here: a wider type can, for an optimizer's first update may widen its moments."""
    if here.name == saved:
        return True
    wider = dtypes.to_numpy(saved)
    try:
        return jnp.issubdtype(wider, jnp.floating) and jnp.promote_types(here, wider) == wider
    except ValueError:  # eight-bit floats promote to nothing on their own
        return False


class _Itself:
    """An array as a key, and kept alive so that it stays one; its values are not looked at."""

    def __init__(self, array: jax.Array) -> None:
        self._array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other._array is self._array

    def __hash__(self) -> int:
        return id(self._array)


def _opened(node: Node, fit: Fit) -> tuple[bool, Node]:
    """Whether the saved array was weakly typed, and its leaf."""
    if isinstance(node, Object) and node.adapter == Array.name:
        return bool(node.about.get("weak")), fit.resolve(node.state)
    return False, node


def _weakened(array: np.ndarray, weak: bool) -> Any:
    """`array`, or its values as JAX keeps those of Python numbers."""
    if not weak:
        return array
    number = {"b": False, "i": 0, "f": 0.0, "c": 0j}[array.dtype.kind]
    return jnp.full(array.shape, number).at[...].set(array)


def _placed(value: Any, live: jax.Array) -> jax.Array:
    """Where the live one is; one that JAX was free to place stays free."""
    return jax.device_put(value, live.sharding if live.committed else None)


def make_array(leaf: Leaf, read: Read) -> Any:
    """An array of JAX, or of NumPy if JAX is set not to have its type (`jax_enable_x64`)."""
    made = new_array(leaf, read)
    return jnp.asarray(made) if jax.dtypes.canonicalize_dtype(made.dtype) == made.dtype else made
