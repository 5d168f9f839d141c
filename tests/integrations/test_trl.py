"""Trainers of TRL keep buffers, counters and reference models of their own: a killed one ends as an uninterrupted one."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("trl")

import torch

from holdfast import Checkpointing
from holdfast.integrations.transformers import hold
from tests.support.integrations import small_trl as small
from tests.support.integrations.cases.transformers_case import Beats
from tests.support.integrations.crashing import Crash, beats

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own
SYNCED = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.5}


def train(make, directory, crash_at=None, callbacks=(), **options):
    logging.getLogger("trl").setLevel(logging.ERROR)
    trainer = make(directory, **options)
    for each in (*callbacks, Beats(beats(crash_at))):
        trainer.add_callback(each)
    held = hold(trainer, checkpointing=Checkpointing(save_on=["batch_end", "epoch_end"]))
    trainer.train()
    return held, trainer


def rows(trainer):
    return [
        {
            name: value
            for name, value in row.items()
            if "runtime" not in name and "second" not in name and name != "step_time"
        }
        for row in trainer.state.log_history
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options", "crash_at"),
    [
        pytest.param(small.sft, {}, 4, id="a counter of tokens"),
        pytest.param(small.sft, {"packing": True}, 2, id="packed"),
        pytest.param(small.dpo, SYNCED, 4, id="a reference model that follows"),
        pytest.param(small.grpo, {}, 3, id="between two generations"),
        pytest.param(small.grpo, {}, 4, id="among the iterations"),
        pytest.param(small.grpo, SYNCED, 4, id="both"),
    ],
)
def test_a_killed_one_ends_as_an_uninterrupted_one(make, options, crash_at, tmp_path):
    uninterrupted, expected = train(make, tmp_path / "a", **options)
    for at in (crash_at, 2):
        with pytest.raises(Crash):
            train(make, tmp_path / "b", at, **options)
    held, trainer = train(make, tmp_path / "b", **options)
    assert held.last_resume.verdict == "exact"
    assert all(map(torch.equal, trainer.model.parameters(), expected.model.parameters()))
    assert rows(trainer) == rows(expected)
    assert held.state_digest() == uninterrupted.state_digest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "crash_at"),
    [
        ({"max_steps": 12}, 4),
        ({"max_steps": 12}, 9),  # at the end of the stream
        ({"max_steps": 12}, 11),  # in its second pass
        ({"max_steps": 6, "gradient_accumulation_steps": 3}, 3),  # which leaves an accumulation half done
    ],
)
def test_a_stream_resumes_where_it_was(options, crash_at, tmp_path):
    _, expected = train(small.sft, tmp_path / "a", as_stream=True, **options)
    with pytest.raises(Crash):
        train(small.sft, tmp_path / "b", crash_at, as_stream=True, **options)
    held, trainer = train(small.sft, tmp_path / "b", as_stream=True, **options)
    assert held.last_resume.verdict == "exact"
    assert all(map(torch.equal, trainer.model.parameters(), expected.model.parameters()))
    assert rows(trainer) == rows(expected)


@pytest.mark.medium
def test_an_average_of_weights_that_a_callback_of_trl_keeps_resumes(tmp_path):
    from trl import BEMACallback

    def averaged(directory, crash_at=None):
        average = BEMACallback(update_freq=2)
        held, _ = train(small.sft, directory, crash_at, [average])
        return held, average

    _, expected = averaged(tmp_path / "a")
    with pytest.raises(Crash):
        averaged(tmp_path / "b", 6)
    held, average = averaged(tmp_path / "b")
    assert held.last_resume.verdict == "exact"
    assert all(map(torch.equal, average.running_model.parameters(), expected.running_model.parameters()))
    assert all(map(torch.equal, average.ema_params, expected.ema_params))
    assert all(map(torch.equal, average.theta0_params, expected.theta0_params))
