"""Runs of several processes that have one model: who they are, what they cannot do yet, and how they agree."""

__all__: list[str] = []
