"""A replay: this process runs a script from one checkpoint to the next, in a directory of its own.

`holdfast replay` starts the script with one variable in its environment, and everything that a run would do in a
directory it does in the scratch one instead. It resumes from the one checkpoint there, whatever the script
passes as `resume`, and the process ends once the checkpoint to be compared has been committed.

`HOLDFAST_REPLAY` holds JSON: `of`, the experiment's directory; `scratch`, what stands for it; `until`, the path below
it of the checkpoint to come, and `moment`, where the run is then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from blake3 import blake3

from ..records import Moment
from ..storage import absolute, is_below, real_path
from ._life import end_process

VARIABLE = "HOLDFAST_REPLAY"
REASON = "the end of a replay"


@dataclass(frozen=True, slots=True)
class Replay:
    """The content of the variable."""

    of: str
    scratch: str
    until: str
    moment: Mapping[str, Any]

    @property
    def variable(self) -> str:
        """The environment variable."""
        return VARIABLE

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    def place(self, path: str) -> str:
        """The directory used in its place: the copy of the experiment's, or an empty one beside it for any other."""
        real = real_path(path)
        if is_below(real, self.scratch):
            return path
        if is_below(real, self.of):
            return os.path.normpath(f"{self.main}/{os.path.relpath(real, self.of)}")
        return f"{self.scratch}/elsewhere/{blake3(real.encode()).hexdigest()[:16]}"

    @property
    def main(self) -> str:
        """The directory used in place of the experiment's."""
        return f"{self.scratch}/run"

    @property
    def end(self) -> str:
        """The path of the checkpoint to reach."""
        return f"{self.main}/{self.until}"


def facts_of(moment: Moment) -> dict[str, Any]:
    """What identifies a moment of a run."""
    return {name: getattr(moment, name) for name in ("hook", "phase", "epoch", "batch", "step")}


def asked() -> Replay | None:
    """The replay that this process carries out; None if there is none."""
    text = os.environ.get(VARIABLE)
    return None if not text else Replay(**json.loads(text))


def place(path: str | os.PathLike[str]) -> str:
    """Where a run that is given this directory works: there, unless this process is a replay or is sent elsewhere."""
    replay = asked()
    return _redirected(path) if replay is None else replay.place(os.fspath(path))


def file_place(path: str | os.PathLike[str]) -> str:
    """As `place`, for the path of one checkpoint: its folder stands for the directory."""
    text = os.fspath(path)
    folder, last = os.path.split(text.rstrip("/"))
    there = place(folder or ".")
    return text if there == (folder or ".") else os.path.join(there, last)


def resume_source(resume: Any, directory: str | os.PathLike[str] | None) -> Any:
    """What a run in this directory resumes from: the script's choice, but in a replay the one checkpoint there."""
    replay = asked()
    if replay is None or directory is None or os.path.normpath(place(directory)) != replay.main:
        return resume
    return True


def is_end(path: str, moment: Moment) -> bool:
    """Whether the checkpoint at this path and moment is the one a replay must reach."""
    replay = asked()
    return replay is not None and os.path.normpath(path) == replay.end and facts_of(moment) == replay.moment


def stop_at_end(path: str, moment: Moment) -> None:
    """After a commit: end the process if this was it, before the script continues."""
    if is_end(path, moment):
        end_process()


DIRECTORY = "HOLDFAST_DIRECTORY"
"""The variable of the environment: a directory below which every run of the process saves."""


def _redirected(path: str | os.PathLike[str]) -> str:
    """Where a run that is given this directory works: there, unless the environment sends runs elsewhere.

    Below it, different directories stay different (`runs/a`, `runs/b`). A directory that is already below it
    is left alone, so a script that gets the place may use it itself.
    """
    elsewhere = os.environ.get(DIRECTORY)
    if not elsewhere:
        return os.fspath(path)
    root, wanted = absolute(elsewhere), absolute(path)
    if is_below(wanted, root):
        return wanted
    here = absolute(".")
    return os.path.join(root, os.path.relpath(wanted, here if is_below(wanted, here) else "/"))
