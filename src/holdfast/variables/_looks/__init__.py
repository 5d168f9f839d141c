"""What is looked at besides values: readings of clocks, what functions and classes keep, which object a variable names, and streams in memory."""

__all__: list[str] = []
