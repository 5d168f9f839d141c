"""Other people's training loops, one file each; a person's own is `loop`."""
