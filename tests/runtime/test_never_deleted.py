"""What eviction leaves where it is, whatever the policy has given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Write
from holdfast.errors import SaveError
from tests.support.small_runs import At, all_verify, bundles, experiment, on_disk, train


def make(directory: Path, n_epochs: int, *callbacks: At):
    phase = train(
        n_epochs=n_epochs,
        callbacks=callbacks,
        checkpointing=on_disk(max_to_keep=1, write=Write(durability="process", background=False)),
    )
    return experiment(directory, phase)


def test_the_checkpoint_that_a_run_resumed_from_stays(tmp_path):
    make(tmp_path, 2).run()
    again = make(tmp_path, 5)
    again.run(resume=True)
    assert again.last_resume.record.name == "train_epoch1"
    assert bundles(tmp_path / "train") == ["train_epoch1", "train_epoch4"]
    assert all_verify(tmp_path)


def test_a_checkpoint_that_was_damaged_meanwhile_stays(tmp_path):
    def damage(context: object) -> None:
        (tmp_path / "train" / "train_epoch0.ckpt.mml" / "checkpoint.json").write_text("{}")

    make(tmp_path, 2, At("epoch_end", 1, do=damage)).run()
    assert bundles(tmp_path / "train") == ["train_epoch0", "train_epoch1"]


def test_the_last_checkpoint_stays_when_the_next_one_cannot_be_saved(tmp_path):
    def obstruct(context: object) -> None:
        (tmp_path / "train").rename(tmp_path / "kept")
        (tmp_path / "train").write_text("a file where the directory was")

    with pytest.raises(SaveError):
        make(tmp_path, 3, At("epoch_start", 1, do=obstruct)).run()
    assert bundles(tmp_path / "kept") == ["train_epoch0"]
    assert all_verify(tmp_path / "kept")
