"""A module of the script's own beside the one that trains: it counts in globals."""

from __future__ import annotations

calls = 0
sizes: list[float] = [1.0]


def count() -> float:
    """How often it was called, and a list that another module may change."""
    global calls
    calls += 1
    sizes.append(sizes[-1] * 1.01)
    return calls + sizes[-1]
