"""Commands that make, copy, convert or delete checkpoints."""
