"""The arguments that `Run` and every integration share: refused at once, before anything is made."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from ..policy import check_label, directory_path, flag


def check_arguments(
    directory: Any, label: Any, *, allow_reread: Any, share_directory: Any, on_rollback: Any
) -> None:
    """Refuse, with UsageError, what has no meaning.

    Raises:
        UsageError: it names the argument.
    """
    directory_path("directory", directory)
    check_label(label)
    flag("allow_reread", allow_reread)
    flag("share_directory", share_directory)
    if on_rollback is not None and not callable(on_rollback):
        raise UsageError(f"on_rollback is called after each rollback, and {on_rollback!r} cannot be called.")
