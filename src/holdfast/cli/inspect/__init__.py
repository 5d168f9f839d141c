"""Commands that only read."""

__all__: list[str] = []
