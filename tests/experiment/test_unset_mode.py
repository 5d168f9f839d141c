"""A policy that does not say where: in memory, unless the disk is what is meant or all there is."""

import numpy as np
import pytest

from holdfast import Checkpointing, Overhead, Run, Seconds, Write, scan
from holdfast.errors import UsageError
from tests.support.small_runs import At, bundles, experiment, train


def test_a_phase_saves_to_the_directory_of_its_experiment_and_in_memory_without_one(tmp_path):
    on_disk, in_memory = train(checkpointing=Checkpointing()), train(checkpointing=Checkpointing())
    experiment(tmp_path, on_disk).run(progress=False)
    experiment(None, in_memory).run(progress=False)
    assert bundles(tmp_path / "train") == ["train_epoch0", "train_epoch1", "train_epoch2"]
    assert (on_disk.checkpointing.mode, in_memory.checkpointing.mode) == ("disk", "memory")
    assert in_memory.checkpointing.get_state(2) is not None


def test_memory_that_was_requested_stays_memory_in_an_experiment_with_a_directory(tmp_path):
    phase = train(checkpointing=Checkpointing(mode="memory"))
    experiment(tmp_path, phase).run(progress=False)
    assert phase.checkpointing.saved_keys == [0, 1, 2]
    assert not scan(tmp_path)


def test_an_experiment_and_a_loop_of_ones_own_know_the_disk_only(tmp_path):
    complete = Checkpointing(save_on="phase_end")
    experiment(tmp_path / "whole", train(), checkpointing=complete).run(progress=False)
    assert bundles(tmp_path / "whole") == ["train"]
    with Run(tmp_path / "loop", {"place": np.zeros(1)}, checkpointing=Checkpointing()) as run:
        for _ in run.epochs(1):
            pass
    assert bundles(tmp_path / "loop") == ["train_epoch0"]
    with pytest.raises(UsageError, match="leave mode out"):
        Run(tmp_path / "memory", {"place": np.zeros(1)}, checkpointing=Checkpointing(mode="memory"))
    assert not (tmp_path / "memory").exists()


def test_a_run_resumes_exactly_under_the_default_policy(tmp_path):
    wanted = experiment(None, train(n_epochs=4, callbacks=[At("batch_end", 9, 9, do=print)]))
    wanted.run(progress=False)
    stop = At("batch_start", 2, 1, do=RuntimeError("stop"))
    with pytest.raises(RuntimeError, match="stop"):
        experiment(tmp_path, train(n_epochs=4, checkpointing=Checkpointing.default(), callbacks=[stop])).run(
            progress=False
        )
    again = experiment(
        tmp_path,
        train(n_epochs=4, checkpointing=Checkpointing.default(), callbacks=[At("batch_end", 9, 9, do=print)]),
    )
    again.run(resume=True, progress=False)
    assert again.last_resume is not None
    assert again.state_digest() == wanted.state_digest()


def test_any_of_two_conditions_saves_in_a_run_and_the_record_says_which(tmp_path):
    policy = Checkpointing(
        when=Overhead(1e-9) | Seconds(1e-9), write=Write(durability="process", background=False)
    )
    with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
        for _ in run.steps(3):
            pass
    reasons = [listed.record.reason for listed in scan(tmp_path)]
    assert len(reasons) == 3
    assert "the first save shows what one costs" in reasons[0]
    assert all("Seconds(1e-09)" in reason for reason in reasons[1:])
