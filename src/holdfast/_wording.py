"""Words in messages."""

from __future__ import annotations

from collections.abc import Sequence


def a(noun: str) -> str:
    """The noun with its article, by its first letter: `a list`, `an int`."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def ranks_in_words(ranks: Sequence[int]) -> str:
    """`rank 3`, `ranks 1, 3`; the first eight of many."""
    shown = ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"
