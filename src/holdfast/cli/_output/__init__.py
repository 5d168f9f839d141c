"""How results are shown: as text in columns, or as JSON; and the exit codes."""

__all__: list[str] = []
