"""Running a script and watching it from outside, as `holdfast check`, `replay` and `torture` do."""

from ._life import LIFE, Life, disk_of_life, end_process, living
from ._progress import STEP_FILE, Seen, seen, tell
from ._replay import (
    DIRECTORY,
    REASON,
    Replay,
    asked,
    facts_of,
    file_place,
    is_end,
    place,
    resume_source,
    stop_at_end,
)
from ._scratch import scratch
from ._told import is_told

__all__ = [
    "DIRECTORY",
    "LIFE",
    "REASON",
    "STEP_FILE",
    "Life",
    "Replay",
    "Seen",
    "asked",
    "disk_of_life",
    "end_process",
    "facts_of",
    "file_place",
    "is_end",
    "is_told",
    "living",
    "place",
    "resume_source",
    "scratch",
    "seen",
    "stop_at_end",
    "tell",
]
