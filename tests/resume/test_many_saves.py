"""A long run's thousandth checkpoint costs what its first did."""

from __future__ import annotations

import cProfile

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Dataset, Run, Write, rng
from tests.support.plans import ACCURACY, BATCH, Saving, experiment, network, phase, rows


@pytest.mark.slow
def test_the_bytes_of_a_save_do_not_grow_over_a_thousand_batches(tmp_path):
    rng.seed_everything(0)
    policies = Saving(
        str(tmp_path),
        training={"save_on": ["batch_end"]},
        experiment={"save_on": ["experiment_end"]},
    )
    train = phase(
        "train",
        policies,
        data=Dataset(rows(number=100 * BATCH)),
        n_epochs=10,
        validation=Dataset(rows(1)),
        metrics=[ACCURACY],
    )
    experiment(policies, network(), train).run(progress=False)
    records = [each.record for each in holdfast.scan(tmp_path / "train")]
    assert len(records) == 1000
    written = [record.bytes_written for record in records]
    sizes = [record.size_bytes for record in records]
    assert max(written) < 1.1 * written[0], written[::100]
    assert max(sizes) < 1.1 * sizes[0], sizes[::100]


@pytest.mark.medium
def test_a_save_costs_the_same_however_many_checkpoints_are_there(tmp_path):
    """Counted in calls of functions, which no busy machine changes."""
    weight, calls = np.zeros(100), []
    policy = Checkpointing(save_on="batch_end", write=Write(background=False, durability="process"))
    # How often the globals of other modules are looked at is a matter of time.
    with Run(tmp_path, {"weight": weight}, checkpointing=policy, variables="off") as run:
        for step in run.steps(420):
            if step in (20, 400):
                profile = cProfile.Profile()
                profile.enable()
            weight += 1
            if step in (30, 410):
                profile.disable()
                calls.append(sum(each.callcount for each in profile.getstats()))
    assert len(list(tmp_path.glob("*.ckpt.mml"))) == 420
    assert calls[1] < 1.02 * calls[0]
