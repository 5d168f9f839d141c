"""Where a run saves when somebody else starts it: `HOLDFAST_DIRECTORY` sends all its checkpoints there.

So `holdfast torture` and `replay` run a script as it stands, far from the checkpoints that it has made before.
"""

from __future__ import annotations

import os
from pathlib import Path

DIRECTORY = "HOLDFAST_DIRECTORY"
"""The variable of the environment: a directory below which every run of the process saves."""


def redirected(path: str | os.PathLike[str]) -> Path:
    """The directory that stands for `path`: itself, unless the environment sends runs elsewhere.

    Below that place directories keep their distance: `runs/a` and `runs/b` stay two. What is below it already
    is left alone, so a script that is told the place may use it by itself.
    """
    elsewhere = os.environ.get(DIRECTORY)
    if not elsewhere:
        return Path(path)
    root, wanted = Path(elsewhere).absolute(), Path(os.path.abspath(path))
    if wanted.is_relative_to(root):
        return wanted
    here = Path.cwd()
    return root / (
        wanted.relative_to(here) if wanted.is_relative_to(here) else wanted.relative_to(wanted.anchor)
    )
