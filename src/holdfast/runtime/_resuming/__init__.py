"""Resuming: which checkpoint, what it leaves to the script, and how exactly the run continues from it."""

__all__: list[str] = []
