"""Commands that make, copy, convert or delete checkpoints."""

__all__: list[str] = []
