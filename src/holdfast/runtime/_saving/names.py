"""What the checkpoints of one policy are called."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

from ... import bundle
from ...policy import (
    Checkpointing,
    Key,
    experiment_key,
    experiment_name,
    training_key,
    training_name,
)
from ...records import Moment

Kind = Literal["train", "experiment"]


@final
class Names:
    """Keys, names and paths, by the table of train phases (kind "train") or of experiments (kind "experiment").

    `label`: the phase's or experiment's. `folder`: where bundles go.
    """

    def __init__(self, policy: Checkpointing, kind: Kind, label: str, folder: Path | None) -> None:
        self.kind: Kind = kind
        self.folder = str(folder)
        self._policy, self._label = policy, label

    def key(self, moment: Moment) -> Key:
        if self.kind == "train":
            return training_key(self._policy, moment)
        return experiment_key(self._policy, moment, self._unit(moment))

    def name(self, moment: Moment) -> str:
        if self.kind == "train":
            return training_name(self._policy, moment, self._label)
        return experiment_name(self._policy, moment, self._unit(moment))

    def path(self, name: str) -> str:
        return bundle.bundle_path(self.folder, name)

    def _unit(self, moment: Moment) -> str:
        """The label of the phase or group around which an experiment's hook is."""
        return moment.phase.rpartition("/")[2] if moment.phase else self._label
