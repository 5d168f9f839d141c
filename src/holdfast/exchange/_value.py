"""Arrays that a library returns complete: only the current one is kept."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from .._wording import a
from ..checkpoint import Part
from ..errors import ForeignFileError, UnsupportedStateError
from ..records import Bytes, Leaf, Node
from ..state import look


def one_at_a_time(fill: Callable[[Leaf, Bytes], None]) -> Part:
    """A `Part` that makes entire leaves by `fill`, and remembers the last one."""
    lock = Lock()
    last: tuple[str, Bytes] | None = None

    def part(leaf: Leaf, start: int, size: int) -> memoryview:
        nonlocal last
        with lock:
            if last is None or last[0] != leaf.path:
                last = None  # two at a time would be twice the memory
                data = np.empty(leaf.size_bytes, np.uint8)
                fill(leaf, data)
                last = leaf.path, data
            # A copy: a slice would keep the entire leaf in memory while it waits to be written.
            return last[1][start : start + size].copy().data

    return part


def of_value(value: Any, place: str) -> tuple[Node, Part]:
    """The tree of a value that is in memory or mapped into it, and was read from `place`.

    Raises:
        ForeignFileError: something in it cannot be saved.
    """
    try:
        taken = look(value)
    except UnsupportedStateError as err:
        where = f"at {err.path!r}" if err.path else "in it"
        raise ForeignFileError(
            place, f"{where} is {a(err.kind)}, which cannot be saved. {err.hint}".rstrip()
        ) from err
    except RecursionError as err:
        raise ForeignFileError(place, "it is nested too deep.") from err
    return taken.tree, lambda leaf, start, size: taken.piece(leaf, start, size).data
