"""A replay: this process runs a script from one checkpoint to the next, in a directory of its own.

`holdfast replay` starts the script with one variable in its environment, and everything that a run would do in a
directory it does in the scratch one instead. There, the one checkpoint is what it goes on from, whatever the script
says of `resume`, and the process ends once the checkpoint that is to be compared has been committed.

`HOLDFAST_REPLAY` holds JSON: `of`, the experiment's directory; `scratch`, what stands for it; `until`, the path below
it of the checkpoint to come, and `moment`, where the run is then.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from blake3 import blake3

from ..records import Moment
from ..storage import is_below

VARIABLE = "HOLDFAST_REPLAY"
REASON = "the end of a replay"


@dataclass(frozen=True, slots=True)
class Replay:
    """What the variable says."""

    of: str
    scratch: str
    until: str
    moment: Mapping[str, Any]

    @property
    def variable(self) -> str:
        """Under which name a process is told."""
        return VARIABLE

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    def place(self, path: str) -> str:
        """What stands for this directory: of the experiment's its copy, of any other an empty one beside it."""
        real = os.path.realpath(path)
        if is_below(real, self.scratch):
            return path
        if is_below(real, self.of):
            return os.path.normpath(f"{self.main}/{os.path.relpath(real, self.of)}")
        return f"{self.scratch}/elsewhere/{blake3(real.encode()).hexdigest()[:16]}"

    @property
    def main(self) -> str:
        """What stands for the experiment's directory."""
        return f"{self.scratch}/run"

    @property
    def end(self) -> str:
        """The path of the checkpoint that is to come."""
        return f"{self.main}/{self.until}"


def facts_of(moment: Moment) -> dict[str, Any]:
    """What says that two moments of a run are the same one."""
    return {name: getattr(moment, name) for name in ("hook", "phase", "epoch", "batch", "step")}


def asked() -> Replay | None:
    """The replay that this process is; None if it is none."""
    text = os.environ.get(VARIABLE)
    return None if not text else Replay(**json.loads(text))


def place(path: str | os.PathLike[str]) -> str:
    """Where a run that is given this directory works: there, unless this process is a replay or is sent elsewhere."""
    replay = asked()
    return _redirected(path) if replay is None else replay.place(os.fspath(path))


def wanted(resume: Any, directory: str | os.PathLike[str] | None) -> Any:
    """What a run in this directory goes on from: what the script says, but in a replay the one checkpoint there is."""
    replay = asked()
    if replay is None or directory is None or os.path.normpath(place(directory)) != replay.main:
        return resume
    return True


def is_end(path: str, moment: Moment) -> bool:
    """Whether the checkpoint at this path and moment is the one that a replay is to reach."""
    replay = asked()
    return replay is not None and os.path.normpath(path) == replay.end and facts_of(moment) == replay.moment


def stop_at_end(path: str, moment: Moment) -> None:
    """After a commit: end the process if this was it, before the script does anything else."""
    if is_end(path, moment):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


DIRECTORY = "HOLDFAST_DIRECTORY"
"""The variable of the environment: a directory below which every run of the process saves."""


def _redirected(path: str | os.PathLike[str]) -> str:
    """Where a run that is given this directory works: there, unless the environment sends runs elsewhere.

    Below that place directories keep their distance: `runs/a` and `runs/b` stay two. What is below it already
    is left alone, so a script that is told the place may use it by itself.
    """
    elsewhere = os.environ.get(DIRECTORY)
    if not elsewhere:
        return os.fspath(path)
    root, wanted = os.path.abspath(elsewhere), os.path.abspath(path)
    if is_below(wanted, root):
        return wanted
    here = os.getcwd()
    return os.path.join(root, os.path.relpath(wanted, here if is_below(wanted, here) else "/"))
