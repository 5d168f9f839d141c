"""The order in which a set gives its members.

It follows from their hashes and from the order in which they came and went. Of numbers, and tuples of them, it is the same in every
process, so a script may rely on it (`rng.choice(list(frontier))`); of texts it differs from process to process, unless
`PYTHONHASHSEED` is set.
"""

from __future__ import annotations

import sys
from collections.abc import Set
from typing import Any, Final

_NUMBERS: Final = frozenset({bool, int, float, complex})
_TEXTS: Final = frozenset({str, bytes})


def has_order(value: Set[Any]) -> bool:
    """Whether another process gives these members in the same order, if they come and go in the same order."""
    return all(map(_has_hash, value))


def is_kept(value: Set[Any]) -> bool:
    """Whether a set that its members are put into, in the order in which it gives them, gives them in that order."""
    return not has_order(value) or list(remade(value)) == list(value)


def remade(value: Set[Any]) -> Set[Any]:
    """A set like this one, its members put in one by one: made from a set, it would have room for others, and so another order."""
    members = list(value)
    return set(members) if isinstance(value, set) else frozenset(members)


def _has_hash(member: Any) -> bool:
    """Whether its hash is the same in every process."""
    kind = type(member)
    if kind in _TEXTS:
        return not sys.flags.hash_randomization
    return kind in _NUMBERS or (kind in (tuple, frozenset) and all(map(_has_hash, member)))
