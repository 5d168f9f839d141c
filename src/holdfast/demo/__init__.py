"""The demonstration: an experiment on real digits that is killed and goes on, bit for bit."""

__all__: list[str] = []
