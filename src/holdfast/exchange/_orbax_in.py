"""Reading a directory that Orbax has written; Orbax reads all of it into NumPy arrays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from ..checkpoint import Part
from ..errors import ForeignFileError, UsageError
from ..records import Node
from ._value import of_value

_SIGNS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")


def is_orbax(directory: str) -> bool:
    return any(os.path.exists(os.path.join(directory, sign)) for sign in _SIGNS)


@contextlib.contextmanager
def opened(place: str) -> Iterator[tuple[Node, Part]]:
    """The tree that was saved there; from a composite checkpoint the tree of its item `default` or `state`."""
    try:
        import jax  # type: ignore[import-not-found]
        from orbax import checkpoint as orbax  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError("this needs Orbax: pip install orbax-checkpoint.") from None
    try:
        reader = orbax.PyTreeCheckpointer()
        item = _item(os.path.abspath(place))
        about = reader.metadata(item)
        tree = getattr(about, "item_metadata", about)
        tree = getattr(tree, "tree", tree)
        as_arrays = jax.tree.map(lambda leaf: orbax.RestoreArgs(restore_type=np.ndarray), tree)
        value = reader.restore(item, restore_args=as_arrays)
    except Exception as err:
        raise ForeignFileError(place, f"Orbax cannot read it: {err}.") from err
    yield of_value(value)


def _item(place: str) -> str:
    if os.path.exists(os.path.join(place, "_METADATA")):
        return place
    for name in ("default", "state"):
        if os.path.exists(os.path.join(place, name, "_METADATA")):
            return os.path.join(place, name)
    return place
