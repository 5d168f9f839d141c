"""Whether this process is watched or led by another one."""

from __future__ import annotations

import os

from ._life import LIFE
from ._progress import STEP_FILE
from ._replay import VARIABLE


def is_told() -> bool:
    """Whether its environment says anything of that; it does so from the beginning, or never."""
    return any(name in os.environ for name in (LIFE, STEP_FILE, VARIABLE))
