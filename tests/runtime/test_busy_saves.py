"""Saves that are slower than what is saved: nothing torn, nothing lost unseen, the waiting accounted."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Write, state
from holdfast.errors import SaveError
from holdfast.policy import attach_to_training
from holdfast.records import Moment
from holdfast.runtime import ExperimentDirectory, Session
from holdfast.storage import LocalDisk
from holdfast.testing import FaultyDisk, TappedDisk
from tests.support.small_runs import At, all_verify, experiment, on_disk, train

RUN = "f" * 32


class SlowDisk(TappedDisk):
    """A disk on which every commit takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(LocalDisk())
        self.seconds = seconds

    def around(self, operation, do):
        if operation.kind == "rename_directory" and operation.to.endswith(".ckpt.mml"):
            time.sleep(self.seconds)
        return do()


def saver_in(directory: ExperimentDirectory, label: str = "train", **policy) -> Session:
    options = {"write": Write(durability="process"), **policy}
    attached = attach_to_training(Checkpointing(mode="disk", **options))
    return Session(attached, "train", label, directory, Path(directory.path) / label)


def save(saver: Session, values, epoch: int, hook: str = "epoch_end") -> None:
    moment = Moment(run=RUN, hook=hook, phase=saver.label, epoch=epoch if hook == "epoch_end" else None)
    saver.save(moment, lambda: {"values": values, "epoch": epoch}, reason="test", metrics={})


def held_by(directory: Path) -> list[int]:
    """The epochs whose bundles are there; each must hold what the arrays were then."""
    epochs = []
    for listed in holdfast.scan(directory):
        with holdfast.open(listed) as checkpoint:
            epochs.append(checkpoint["epoch"])
            assert all((array == checkpoint["epoch"]).all() for array in checkpoint["values"]), listed.path
    return epochs


@pytest.mark.parametrize("on", ["copy", "live"])
def test_arrays_that_training_changes_at_full_speed_are_saved_as_they_were_at_the_hook(tmp_path, on):
    values = [np.zeros(300_000), torch.zeros(700, 500), np.zeros((400, 500)).T[::2], torch.zeros(9)]
    with ExperimentDirectory(tmp_path, RUN) as directory:
        saver = saver_in(directory, write=Write(durability="process", background=on == "copy"))
        for epoch in range(8):
            for array in values:
                array[...] = epoch
            save(saver, values, epoch)
            for spoiled in range(20):
                for array in values:
                    array[...] = -spoiled
        directory.writer.wait()
    assert held_by(tmp_path) == list(range(8))
    assert all_verify(tmp_path)


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_save_in_the_foreground_whose_arrays_another_thread_changes_fails_as_the_policy_says(
    tmp_path, on_error
):
    values = np.zeros(100)

    class MeddlingDisk(SlowDisk):
        def around(self, operation, do):
            if operation.kind == "create" and operation.path.endswith(".safetensors"):
                values[:] += 1
            return do()

    with ExperimentDirectory(tmp_path, RUN, disk=MeddlingDisk(0)) as directory:
        saver = saver_in(directory, write=Write(durability="process", background=False, errors=on_error))
        if on_error == "raise":
            with pytest.raises(SaveError, match=r"train_epoch0.*torn at 'values/0'"):
                save(saver, [values], 0)
        else:
            save(saver, [values], 0)
        assert directory.accounting.failures == (on_error == "warn")
    assert holdfast.scan(tmp_path) == []


@pytest.mark.medium
def test_a_save_that_waits_for_the_one_before_counts_the_wait_as_blocked(tmp_path):
    with ExperimentDirectory(tmp_path, RUN, disk=SlowDisk(0.2)) as directory:
        saver = saver_in(directory)
        for epoch in range(3):
            save(saver, [np.full(10, epoch)], epoch)
        directory.writer.wait()
        assert directory.accounting.blocked_s >= 0.3
        assert directory.accounting.skipped == 0
    assert held_by(tmp_path) == [0, 1, 2]


@pytest.mark.medium
def test_a_policy_may_skip_saves_while_one_is_written_but_never_the_last(tmp_path, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    with ExperimentDirectory(tmp_path, RUN, disk=SlowDisk(0.3)) as directory:
        saver = saver_in(
            directory, write=Write(durability="process", busy="skip"), save_on=["epoch_end", "phase_end"]
        )
        for epoch in range(3):
            save(saver, [np.full(10, epoch)], epoch)
        save(saver, [np.full(10, 2)], 2, "phase_end")
        directory.writer.wait()
        assert directory.accounting.skipped == 2
        assert directory.accounting.saves == 2
        assert saver.policy.saved_keys == [0, "phase_end"]
    assert held_by(tmp_path) == [0, 2]
    assert "skipped train_epoch1" in caplog.text


def test_never_more_than_one_snapshot_is_in_memory_beside_the_state(tmp_path):
    with ExperimentDirectory(tmp_path, RUN, disk=SlowDisk(0.05)) as directory:
        saver = saver_in(directory)
        for epoch in range(6):
            save(saver, [np.full(100_000, epoch)], epoch)
        directory.writer.wait()
        assert len(directory.taking.buffers._free) == 1
    assert held_by(tmp_path) == list(range(6))


@pytest.mark.medium
@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
def test_a_run_whose_saves_are_slower_than_its_epochs_ends_as_one_without_saves(
    tmp_path, snapshot, monkeypatch
):
    alone = experiment(None, train(n_epochs=4))
    alone.run(progress=False)
    monkeypatch.setattr("holdfast.runtime._directory.LocalDisk", lambda base: SlowDisk(0.2))
    saving = experiment(tmp_path, train(n_epochs=4, checkpointing=on_disk(snapshot=snapshot)))
    saving.run(progress=False)
    assert saving.state_digest() == alone.state_digest()
    assert saving.accounting.saves == 4
    assert all_verify(tmp_path)


@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
def test_a_run_that_skips_saves_while_one_is_written_ends_as_one_without_saves(
    tmp_path, snapshot, monkeypatch
):
    alone = experiment(None, train(n_epochs=4))
    alone.run(progress=False)
    gate = threading.Event()

    class StuckDisk(SlowDisk):
        def around(self, operation, do):
            if operation.kind == "rename_directory":
                assert gate.wait(60)
            return do()

    monkeypatch.setattr("holdfast.runtime._directory.LocalDisk", lambda base: StuckDisk(0))
    policy = on_disk(snapshot=snapshot, write=Write(durability="process", busy="skip"))
    until = At("epoch_end", 3, do=lambda context: gate.set())
    saving = experiment(tmp_path, train(n_epochs=4, checkpointing=policy, callbacks=[until]))
    saving.run(progress=False)
    assert saving.state_digest() == alone.state_digest()
    assert saving.accounting.skipped in (2, 3)  # the last may come before or after the first is committed
    assert saving.accounting.saves + saving.accounting.skipped == 4
    assert all_verify(tmp_path)


@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
def test_a_run_that_resumes_from_either_kind_of_snapshot_ends_the_same(tmp_path, snapshot):
    complete = experiment(None, train(n_epochs=4))
    complete.run(progress=False)
    policy = {"snapshot": snapshot}
    experiment(tmp_path, train(n_epochs=2, checkpointing=on_disk(**policy))).run(progress=False)
    again = experiment(tmp_path, train(n_epochs=4, checkpointing=on_disk(**policy)))
    again.run(resume=True, progress=False)
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == complete.state_digest()


@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_writer_that_fails_leaves_older_checkpoints_and_the_memory_for_the_next(
    tmp_path, snapshot, on_error
):
    faulty = FaultyDisk(LocalDisk(), 1, 28, kinds=frozenset({"rename_directory"}))
    weights = torch.nn.Parameter(torch.zeros(200, 200))
    optimizer = torch.optim.SGD([weights], lr=1.0, momentum=0.9)
    with ExperimentDirectory(tmp_path, RUN, disk=faulty) as directory:
        directory.taking._unchecked = 0
        saver = saver_in(directory, write=Write(durability="process", errors=on_error), snapshot=snapshot)
        digests = []
        for epoch in range(3):
            parts = {"weights": weights, "optimizer": optimizer, "epoch": epoch}
            digests.append(state.digest(state.capture(parts)))
            moment = Moment(run=RUN, hook="epoch_end", phase="train", epoch=epoch)
            saver.save(moment, lambda parts=parts: parts, reason="test", metrics={})
            weights.grad = torch.ones_like(weights)
            optimizer.step()
            directory.writer.settle()
            if epoch == 1 and on_error == "raise":
                with pytest.raises(SaveError, match=os.strerror(28)[:8]):
                    directory.writer.check()
            directory.writer.check()
        assert directory.accounting.failures == (on_error == "warn")
        assert len(directory.taking.buffers._free) == 1
    found = {}
    for listed in holdfast.scan(tmp_path):
        with holdfast.open(listed) as checkpoint:
            found[checkpoint["epoch"]] = state.digest(checkpoint.source)
    assert found == {0: digests[0], 2: digests[2]}


def test_two_phases_that_share_a_writer_never_share_bytes(tmp_path):
    with ExperimentDirectory(tmp_path, RUN, disk=SlowDisk(0.02)) as directory:
        first, second = saver_in(directory, "first"), saver_in(directory, "second")
        for epoch in range(5):
            save(first, [np.full(50_000, epoch)], epoch)
            save(second, [np.full(70_000, epoch)], epoch)
        directory.writer.wait()
    assert held_by(tmp_path / "first") == held_by(tmp_path / "second") == list(range(5))


def test_threads_of_a_save_are_gone_when_its_directory_is_closed(tmp_path):
    before = threading.active_count()
    with ExperimentDirectory(tmp_path, RUN) as directory:
        save(saver_in(directory), [np.zeros(3_000_000)], 0)
    assert threading.active_count() == before


def test_what_is_to_be_saved_is_looked_for_before_the_save_before_is_waited_for(tmp_path: Path):
    with ExperimentDirectory(tmp_path, RUN, disk=SlowDisk(0.05)) as directory:
        saver, was_busy = saver_in(directory), []

        def found():
            was_busy.append(directory.writer.is_busy)
            return {"values": [np.zeros(3)], "epoch": len(was_busy)}

        for epoch in range(2):
            moment = Moment(run=RUN, hook="epoch_end", phase=saver.label, epoch=epoch)
            saver.save(moment, found, reason="test", metrics={})
        directory.writer.wait()
    assert was_busy == [False, True]
