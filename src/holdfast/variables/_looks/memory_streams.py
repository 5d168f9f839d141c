"""Streams in memory, which hold all there is of them: what was written, and the place."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

_KINDS: Final = (io.StringIO, io.BytesIO)


def is_memory_stream(value: Any) -> bool:
    """Whether it is one that is open, and of no class that may keep more."""
    return type(value) in _KINDS and not value.closed


class MemoryStream:
    """One of them, as an object with a protocol."""

    def __init__(self, held: io.StringIO | io.BytesIO) -> None:
        self._held: Any = held

    def state_dict(self) -> dict[str, Any]:
        """Its contents, how lines end in it (of text), and its place."""
        *contents, place, _ = self._held.__getstate__()
        return {"contents": contents, "place": place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold these contents instead.

        Raises:
            TypeError, ValueError: they are not of such a stream.
        """
        self._held.__setstate__((*state["contents"], state["place"], None))
