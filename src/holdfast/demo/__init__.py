"""The demonstration: an experiment on real digits that is killed and resumes, bit for bit."""

__all__: list[str] = []
