"""Reading a directory that Orbax has written; Orbax reads all of it into NumPy arrays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np

from ..checkpoint import Part
from ..errors import ForeignFileError, UsageError
from ..records import Node
from ._value import of_value

_SETTINGS = ("model_config",)  # of Keras: how to build the model, which is no array
_SIGNS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")


def is_orbax(directory: str) -> bool:
    return any(os.path.exists(os.path.join(directory, sign)) for sign in _SIGNS)


@contextlib.contextmanager
def opened(place: str) -> Iterator[tuple[Node, Part]]:
    """The tree that was saved there; of a checkpoint with one item the tree of that."""
    item = _item(place)
    try:
        import jax  # type: ignore[import-not-found]
        from orbax import checkpoint as orbax  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError("this needs Orbax: pip install orbax-checkpoint.") from None
    try:
        reader = orbax.PyTreeCheckpointer()
        item = os.path.abspath(item)
        about = reader.metadata(item)
        tree = getattr(about, "item_metadata", about)
        tree = getattr(tree, "tree", tree)
        as_arrays = jax.tree.map(lambda leaf: orbax.RestoreArgs(restore_type=np.ndarray), tree)
        value = reader.restore(item, restore_args=as_arrays)
    except Exception as err:
        raise ForeignFileError(place, f"Orbax cannot read it: {err}.") from err
    yield of_value(value, place)


def _item(place: str) -> str:
    """The directory of a tree in this one.

    Raises:
        UsageError: there are several, or it is a directory of checkpoints.
    """
    if os.path.exists(os.path.join(place, "_METADATA")):
        return place
    found = _below(place, lambda directory: os.path.exists(os.path.join(directory, "_METADATA")))
    named = [name for name in found if name not in _SETTINGS] or found
    if len(named) > 1:
        each = ", ".join(map(repr, named))
        raise UsageError(
            f"{place}: this Orbax checkpoint has the items {each}: import one, such as {place}/{named[0]}."
        )
    return os.path.join(place, *named)


def steps_in(place: str) -> list[str]:
    """The names of the checkpoints in a directory of a manager, the oldest first."""

    def number(name: str) -> int:
        return int("0" + "".join(filter(str.isdigit, name)))

    return sorted(_below(place, is_orbax), key=lambda name: (number(name), name))


def _below(place: str, is_meant: Callable[[str], bool]) -> list[str]:
    return sorted(name for name in os.listdir(place) if is_meant(os.path.join(place, name)))
