"""What is looked at besides values: readings of clocks, what functions and classes keep, and which object a variable names."""

__all__: list[str] = []
