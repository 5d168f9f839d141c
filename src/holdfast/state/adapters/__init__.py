"""One file per family of objects; see how they are found in `state/_registry.py`."""

__all__: list[str] = []
