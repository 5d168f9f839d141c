"""A run by a decorator: what a function makes and trains is noticed."""

__all__: list[str] = []
