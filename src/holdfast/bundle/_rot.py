"""Which bytes this process has found rotten, so that no later save builds on the pack that holds them.

A checkpoint may be verified by anybody: a command, a restore, a person at a prompt. What is found must reach
the save that is about to link the same pack, so it is noted here for the whole process.
"""

from __future__ import annotations

_rotten: list[tuple[str, str]] = []  # only ever grows, by a few


def distrust(pack: str, blake3: str) -> None:
    """In the pack of this name bytes that should have this digest have another, or cannot be read."""
    if (pack, blake3) not in _rotten:
        _rotten.append((pack, blake3))


def distrusted_since(number: int) -> list[tuple[str, str]]:
    """What was noted after the first `number`."""
    return _rotten[number:]
