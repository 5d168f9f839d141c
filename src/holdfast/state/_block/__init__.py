"""One block of host memory for all arrays of a snapshot: lent, laid out, and filled."""

__all__: list[str] = []
