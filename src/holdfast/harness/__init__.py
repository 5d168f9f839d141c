"""Running a script and watching it from outside, as `holdfast replay` and `holdfast torture` do."""

from ._progress import STEP_FILE, Seen, seen, tell
from ._replay import DIRECTORY, REASON, Replay, asked, facts_of, is_end, place, resume_source, stop_at_end
from ._scratch import scratch

__all__ = [
    "DIRECTORY",
    "REASON",
    "STEP_FILE",
    "Replay",
    "Seen",
    "asked",
    "facts_of",
    "is_end",
    "place",
    "resume_source",
    "scratch",
    "seen",
    "stop_at_end",
    "tell",
]
