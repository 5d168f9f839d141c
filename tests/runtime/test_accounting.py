"""What saving costs is measured, recorded and told, and so is what would be lost now."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run, Write
from tests.support.small_runs import BATCHES, At, experiment, on_disk, train


def records(directory) -> list:
    return [listed.record for listed in holdfast.scan(directory) if listed.record]


@pytest.mark.parametrize("background", [True, False])
def test_the_accounts_of_a_run_are_the_sums_of_its_records(background, tmp_path):
    made = experiment(
        tmp_path,
        train(checkpointing=on_disk("batch_end", write=Write(durability="process", background=background))),
    )
    made.run()
    saved, cost = records(tmp_path), made.accounting
    assert cost.saves == len(saved) == 3 * BATCHES
    for name in ("bytes_captured", "bytes_written", "bytes_shared"):
        assert getattr(cost, name) == sum(getattr(record, name) for record in saved)
    assert cost.background_s == pytest.approx(sum(record.details["background_s"] for record in saved))
    assert cost.blocked_s >= sum(record.blocked_s for record in saved) - 1e-9
    for record in saved:
        assert 0 <= record.details["waited_s"] <= record.blocked_s
        assert (record.details["background_s"] > 0) is background
    assert saved[-1].details["blocked_so_far_s"] == pytest.approx(sum(record.blocked_s for record in saved))
    times = [record.details["elapsed_s"] for record in saved]
    assert times == sorted(times)


def test_a_resumed_run_knows_its_time_and_its_costs_from_the_records_alone(tmp_path):
    def plan(stop: int):
        stopping = At("batch_end", 1, stop, do=RuntimeError("stop"))
        return experiment(tmp_path, train(checkpointing=on_disk("batch_end"), callbacks=[stopping]))

    with pytest.raises(RuntimeError, match="stop"):
        plan(2).run()
    before = records(tmp_path)[-1]
    plan(9).run(resume=True)
    after = next(record for record in records(tmp_path) if record.parent == before.id)
    known_s = before.details["elapsed_s"] + before.blocked_s
    assert after.details["elapsed_s"] >= known_s
    assert after.details["blocked_so_far_s"] == pytest.approx(
        before.details["blocked_so_far_s"] + after.blocked_s
    )


def test_what_would_be_lost_now_is_known_during_the_run(tmp_path):
    seen = []
    policy = on_disk("epoch_end", write=Write(durability="process", background=False))
    made = experiment(tmp_path, train(checkpointing=policy, callbacks=[]), callbacks=[])
    look = At("batch_end", do=lambda context: seen.append(made.accounting.unsaved_steps))
    made.callbacks = (look,)
    made.run()
    # At the callback of a batch's end the steps of the batches before are known.
    assert seen == [*range(BATCHES)] * 3
    assert made.accounting.unsaved_steps == 0
    ended = made.accounting.unsaved_s
    assert made.accounting.unsaved_s == ended, "a run that has ended loses nothing more"


def test_a_loop_of_ones_own_knows_it_too(tmp_path):
    policy = Checkpointing(mode="disk", save_on="batch_end", every_n=3, write=Write(background=False))
    with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
        lost = [run.accounting.unsaved_steps for _ in run.steps(7)]
        assert run.accounting.unsaved_s > 0
    assert lost == [0, 1, 2, 0, 1, 2, 0]


def test_on_saved_gets_each_record_once_it_is_committed(tmp_path):
    seen, threads = [], set()

    def saved(record) -> None:
        assert records(tmp_path)[-1] == record
        seen.append(record.name)
        threads.add(threading.current_thread().name)

    experiment(tmp_path, train(checkpointing=on_disk("epoch_end", on_saved=saved))).run()
    assert seen == ["train_epoch0", "train_epoch1", "train_epoch2"]
    assert threads == {"holdfast-writer"}


def test_what_on_saved_raises_harms_nothing(tmp_path, caplog):
    def saved(record) -> None:
        raise ConnectionError("no metrics today")

    policy = on_disk("epoch_end", on_saved=saved)
    experiment(tmp_path, train(checkpointing=policy)).run()
    assert policy.saved_keys == [0, 1, 2]
    assert [message.split(",")[0] for message in caplog.messages] == [
        f"on_saved has failed for train_epoch{epoch}" for epoch in range(3)
    ]
    assert "no metrics today" in caplog.text
    assert "on_saved" not in policy.get_config()
    with pytest.raises(ValueError, match="cannot be called"):
        on_disk(on_saved="print")


def test_the_log_says_what_each_save_has_cost(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="holdfast"):
        experiment(tmp_path, train(n_epochs=1, checkpointing=on_disk("epoch_end"))).run()
    [line] = [line for line in caplog.messages if line.startswith("saved ")]
    for part in (
        "training blocked for",
        "in the background",
        "bytes captured",
        "written",
        "shared",
        "process",
    ):
        assert part in line
