"""What an earlier resume of a run was not exact in: noted with each checkpoint from then on, and said again at every resume from there.

What such a resume has changed is part of the state that is saved afterwards, so a later one that is exact by itself leads to
the same end. A checkpoint from before it notes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...records import CheckpointRecord

_AGAIN: Final = "at an earlier resume, "
_NOT_COMPARED: Final = "a checkpoint was saved before its state was compared with what it should be"
_MOST: Final = 20  # that are noted; one is enough for the verdict


def note(differences: Sequence[str], unsaved: Sequence[str], *, is_compared: bool) -> dict[str, Any]:
    """What the record of a checkpoint notes of the resume of its process; nothing of an exact one."""
    found = [*differences, *([] if is_compared else [_NOT_COMPARED])]
    noted = {"differences": found[:_MOST], "unsaved": list(unsaved)}
    return {name: each for name, each in noted.items() if each}


def differences_before(record: CheckpointRecord) -> list[str]:
    """What was not exact in the resumes that led to this checkpoint, as sentences for the next one."""
    return list(dict.fromkeys(map(again, _noted(record, "differences"))))


def unsaved_before(record: CheckpointRecord) -> list[str]:
    """The variables of the script that were lost in the resumes that led to this checkpoint."""
    return _noted(record, "unsaved")


def again(difference: str) -> str:
    """How a later resume says it."""
    return difference if difference.startswith(_AGAIN) else _AGAIN + difference


def _noted(record: CheckpointRecord, name: str) -> list[str]:
    """Texts of a record, which anybody may have written."""
    resume = record.details.get("resume")
    noted = resume.get(name) if isinstance(resume, Mapping) else None
    return [each for each in noted if isinstance(each, str)] if isinstance(noted, list | tuple) else []
