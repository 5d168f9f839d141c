"""Objects that are at several places at once, and how to put them there again."""

__all__: list[str] = []
