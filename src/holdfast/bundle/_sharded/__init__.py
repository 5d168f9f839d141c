"""Checkpoints that several processes save together, and arrays of which only a part is wanted."""

__all__: list[str] = []
