"""Other people's training loops, one file each; a person's own is `loop`."""

__all__: list[str] = []
