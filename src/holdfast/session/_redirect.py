"""Where a run saves when somebody else starts it: `HOLDFAST_DIRECTORY` sends all its checkpoints there.

So `holdfast torture` and `replay` run a script as it stands, far from the checkpoints that it has made before.
"""

from __future__ import annotations

import os

DIRECTORY = "HOLDFAST_DIRECTORY"
"""The variable of the environment: a directory below which every run of the process saves."""


def place(path: str | os.PathLike[str]) -> str:
    """Where a run that is given this directory works: there, unless the environment sends runs elsewhere.

    Below that place directories keep their distance: `runs/a` and `runs/b` stay two. What is below it already
    is left alone, so a script that is told the place may use it by itself.
    """
    elsewhere = os.environ.get(DIRECTORY)
    if not elsewhere:
        return os.fspath(path)
    root, wanted = os.path.abspath(elsewhere), os.path.abspath(path)
    if _is_below(wanted, root):
        return wanted
    here = os.getcwd()
    return os.path.join(root, os.path.relpath(wanted, here if _is_below(wanted, here) else "/"))


def _is_below(path: str, above: str) -> bool:
    return f"{path}/".startswith(f"{above.rstrip('/')}/")
