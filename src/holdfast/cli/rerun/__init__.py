"""Commands that run a training script."""

__all__: list[str] = []
