"""What looks at the script's variables must never break its training: a failure is said, and training continues."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("holdfast")

raises = False
"""Whether failures are raised all the same: the tests want to see them."""


@contextmanager
def guarded(what: str) -> Iterator[list[str]]:
    """Log an error inside instead of raising it; the list that is given then says what it was."""
    failures: list[str] = []
    try:
        yield failures
    except Exception as err:
        if raises:
            raise
        failures.append(f"{type(err).__name__}: {err}")
        logger.exception("the script's variables could not be %s; training continues without them", what)
