"""Objects that can be neither saved nor walked through: what is to be seen of them, and whether it has changed."""

__all__: list[str] = []
