"""One file per family of objects; how they are found is told in `state/_registry.py`."""

__all__: list[str] = []
