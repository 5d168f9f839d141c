"""The position of a run: which epoch, batch and step it is at, and what was logged since the last row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, final

from .._numbers import Numbers, OnDevice

Within = Literal["epoch", "batches", "after", "step"]
"""An epoch before, in, or after its batches; or a step of a loop without epochs."""
Ended = Literal["complete", "stopped"]


@final
@dataclass(slots=True)
class Position:
    """All of it is saved, and set at a resume.

    Attributes:
        epoch, batch: from 0; `batch` counts those of the current loop over `batches` that are finished.
        steps: batches, or steps, finished in all.
        within: None between two epochs.
        announced: `batch_start` of the next batch has been.
        ended: whether all was trained, or the loop was left by a `break`.
        row, latest: logged since the last batch or epoch ended; the newest value of each name.
    """

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    within: Within | None = None
    announced: bool = False
    ended: Ended | None = None
    row: dict[str, float | OnDevice] = field(default_factory=dict)
    latest: dict[str, float | OnDevice] = field(default_factory=dict)

    @property
    def is_in_batches(self) -> bool:
        return self.within == "batches"

    @property
    def num_done(self) -> int:
        """Batches of this epoch that are done."""
        return self.batch if self.within in ("batches", "after") else 0

    def get_state(self) -> dict[str, Any]:
        logged = {"row": dict(Numbers(self.row)), "latest": dict(Numbers(self.latest))}
        return {each.name: getattr(self, each.name) for each in fields(self)} | logged

    def set_state(self, saved: Mapping[str, Any]) -> None:
        for each in fields(self):
            value = saved[each.name]
            setattr(self, each.name, dict(value) if isinstance(value, Mapping) else value)
