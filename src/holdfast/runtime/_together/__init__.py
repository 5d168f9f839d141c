"""Runs of several processes that have one model: who they are, what they cannot do, and how they agree."""

__all__: list[str] = []
