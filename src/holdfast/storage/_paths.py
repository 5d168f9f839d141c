"""Where one path lies, seen from another."""

from __future__ import annotations

import os


def is_below(path: str, above: str) -> bool:
    """Whether `path` is the directory `above`, or in it; both relative to where the process is, links not followed."""
    root = os.path.abspath(above).rstrip("/")
    return f"{os.path.abspath(path)}/".startswith(f"{root}/")
