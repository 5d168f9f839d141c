"""Writing a directory for Orbax: by Orbax itself, which makes it appear complete or not at all."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import SaveError, UsageError
from ..paths import plain_name
from ..state import rebuild
from ._choose import Chosen


def write(source: Bundle, chosen: Chosen, place: str, overwrite: bool) -> list[str]:
    """Write nested dicts, a level for each step of the paths that `chosen` names; returns the directory.

    All arrays are in memory at once, as NumPy's. Tied ones are written under each of their names.

    Raises:
        UsageError: Orbax is not installed, or cannot store one of the arrays.
        SaveError: writing failed; nothing exists under this name.
    """
    try:
        from orbax import checkpoint as orbax  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError("this needs Orbax: pip install orbax-checkpoint.") from None
    tree: dict[str, Any] = {}
    for name, first in [*zip(chosen.arrays, chosen.arrays, strict=True), *chosen.tied.items()]:
        leaf = chosen.arrays[first]
        if not leaf.size_bytes or leaf.kind == "bytes":
            raise UsageError(f"Orbax cannot store empty arrays or bytes: leave {name!r} out with only=.")
        *above, last = plain_name(name)
        level = tree
        for step in above:
            level = level.setdefault(step, {})
        level[last] = np.asarray(rebuild(source, leaf))
    try:
        orbax.PyTreeCheckpointer().save(os.path.abspath(place), tree, force=overwrite)
    except Exception as err:  # of many kinds, and some of them Orbax's own
        raise SaveError(place, f"Orbax: {err}") from err
    return [place]
