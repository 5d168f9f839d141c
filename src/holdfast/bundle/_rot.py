"""Which bytes this process has found rotten, so that no later save links the pack that holds them.

A checkpoint may be verified by a command, a restore, or a person at a prompt. What is found must reach
the save that is about to link the same pack, so it is recorded here for the entire process.
"""

from __future__ import annotations

_rotten: list[tuple[str, str]] = []  # only ever grows, by a few


def distrust(pack: str, blake3: str) -> None:
    """Record that bytes with this digest, in the pack of this name, are wrong or cannot be read."""
    if (pack, blake3) not in _rotten:
        _rotten.append((pack, blake3))


def distrusted_since(number: int) -> list[tuple[str, str]]:
    """What was recorded after the first `number`."""
    return _rotten[number:]
