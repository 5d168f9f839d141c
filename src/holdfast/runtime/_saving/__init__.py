"""Saving: how a state is taken, what its checkpoint is called, and which older ones it replaces."""

__all__: list[str] = []
