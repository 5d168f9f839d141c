"""What looks at the script's variables must never break its training: a failure is said, and training continues."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("holdfast")

raises = False
"""Whether failures are raised all the same: the tests want to see them."""


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Log an error inside instead of raising it."""
    try:
        yield
    except Exception:
        if raises:
            raise
        logger.exception("the script's variables could not be %s; training continues without them", what)
