"""Commands that look and change nothing."""

__all__: list[str] = []
