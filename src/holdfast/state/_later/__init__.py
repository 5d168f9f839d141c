"""Values that were not there when the run began, and come later."""

__all__: list[str] = []
