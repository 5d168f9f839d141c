"""What can be a path on this machine, and where one lies, seen from another."""

from __future__ import annotations

import os
import re

from ..errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # as a `Path` it has a single slash


def local_path(what: str, value: object) -> str:
    """`value` as text.

    Raises:
        UsageError: it is no path, or a URL; `what` names it.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UsageError(f"{what} must be a path, not {value!r}.")
    refuse_url(text)
    return text


def refuse_url(text: str) -> None:
    """UsageError if this is a URL: a folder `s3:` in the working directory is not what was meant."""
    if _URL.match(text):
        raise UsageError(
            f"{text!r} is a URL: Holdfast saves to and reads from file systems of this machine. Pass a path, such as that "
            "of a mounted bucket."
        )


def is_below(path: str, above: str) -> bool:
    """Whether `path` is the directory `above`, or in it; both relative to where the process is, links not followed."""
    root = absolute(above).rstrip("/")
    return f"{absolute(path)}/".startswith(f"{root}/")


def absolute(path: str | os.PathLike[str]) -> str:
    """`os.path.abspath`, and the path as it is where the working directory has been removed."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return os.path.normpath(os.fspath(path))


def real_path(path: str | os.PathLike[str]) -> str:
    """`os.path.realpath`, and the path as it is where the working directory has been removed."""
    try:
        return os.path.realpath(path)
    except FileNotFoundError:
        return os.path.normpath(os.fspath(path))
