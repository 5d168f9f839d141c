"""Keys of dicts and members of sets: no longer, and not more alike, than a reader can bear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

MAX_KEY = 65536  # characters
MAX_EQUAL_HASHES = 64


def checked_key(key: Any) -> Any:
    """The key; ValueError if it is too long."""
    if type(key) is str and len(key) > MAX_KEY:
        raise ValueError("a key is too long")
    return key


def check_hashes(keys: Collection[Any]) -> None:
    """ValueError if too many keys collide: each would be compared with all before it, which can take hours.

    Texts and bytes are hashed with a secret; numbers, and what is made of them, are not.
    """
    if len(keys) > MAX_EQUAL_HASHES and max(Counter(map(hash, keys)).values()) > MAX_EQUAL_HASHES:
        raise ValueError("too many keys or members have the same hash")


def members_of(found: Iterable[Any]) -> list[Any]:
    members = [*found]
    check_hashes(members)
    # NaN members are distinct objects, so they never make this differ.
    if len({*members}) != len(members):
        raise ValueError("a set has the same member twice")
    return members
