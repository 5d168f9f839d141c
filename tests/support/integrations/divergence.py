"""What a rollback in the middle of a process is compared with: going on from the same checkpoint in a run that begins there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.runtime._resuming.rollbacks import Rollbacks


def check_rollback(train: Callable[[Path, bool], Any], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train(directory, diverges)` trains by a policy that rolls back, and returns what has `state_digest` and `last_resume`.

    The run that was rolled back must end as one that goes on anew from the checkpoint that it went back to, given
    the random numbers that the rollback drew.
    """
    held = train(place / "back", True)
    assert held.last_resume is not None
    assert "rolled back (1), with new random numbers" in held.last_resume.verdict
    aim = held.last_resume.record
    after = [
        each.record for each in holdfast.scan(place / "back") if each.record and each.record.seq > aim.seq
    ]
    assert all(record.details["rollbacks"]["count"] == 1 for record in after)
    assert not any("health" in record.details for record in after)

    def as_after_one(self: Rollbacks, record: Any) -> None:
        self.count, self._is_due = 1, True

    shutil.copytree(held.last_resume.path, place / "anew" / Path(held.last_resume.path).name)
    monkeypatch.setattr(Rollbacks, "read", as_after_one)
    anew = train(place / "anew", False)
    assert anew.last_resume.record.id == aim.id
    assert held.state_digest() == anew.state_digest()
