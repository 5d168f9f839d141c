"""The loops of a script over its `Run`, and where they are."""

__all__: list[str] = []
