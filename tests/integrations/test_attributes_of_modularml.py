"""What the model of a ModularML node keeps in attributes comes back with the experiment."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

pytest.importorskip("modularml")

from holdfast import Checkpointing, Write
from holdfast.integrations import modularml
from tests.support.integrations import modularml_experiment as small
from tests.support.integrations.crashing import Crash, beats


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def train(directory, crash_at=None):
    modularml.enable(directory)
    try:
        beat = beats(crash_at)

        def count():
            beat()
            model.calls += 1
            model.table[model.calls % 3] += model.calls
            model.recent.append(model.calls)

        made = small.experiment(count)
        model = made.model_graph.nodes[next(iter(made.model_graph.nodes))].model.model
        model.calls, model.table, model.recent = 0, np.zeros(3), deque(maxlen=3)
        small.run_phase(made, small.train_phase("train", policy(), n_epochs=2))
        told = model.calls, model.table.tolist(), list(model.recent)
        return told, modularml.last_resume(made), modularml.state_digest(made)
    finally:
        modularml.disable()


@pytest.mark.medium
def test_attributes_of_a_node_come_back(tmp_path):
    told, _, digest = train(tmp_path / "a")
    with pytest.raises(Crash):
        train(tmp_path / "b", 11)
    told_again, report, digest_again = train(tmp_path / "b")
    assert report is not None
    assert report.verdict == "exact"
    assert told_again == told
    assert digest_again == digest
