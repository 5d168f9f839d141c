"""Words in messages."""

from __future__ import annotations


def a(noun: str) -> str:
    """The noun with its article, by its first letter: `a list`, `an int`."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"
