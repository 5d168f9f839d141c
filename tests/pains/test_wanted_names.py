"""What users of ModularML 1.0.0 wanted of names, keys and retention, and get here: rows 15-28 of its defects.

Each docstring begins with the number of the row.

Does not apply: of row 28, `Experiment.get_config`. An experiment is code and has no configuration of its
own; that of its policy is tested.
"""

from __future__ import annotations

import pytest

import holdfast
from holdfast import Checkpointing
from holdfast.errors import CheckpointExistsError, HoldfastError
from tests.support.small_runs import BATCHES, all_verify, bundles, experiment, on_disk, train


def test_beyond_max_to_keep_checkpoints_leave_disk_ledger_and_list(tmp_path):
    """15: all six files stayed and were listed, while the ledger knew two."""
    policy = on_disk(max_to_keep=2)
    run = experiment(tmp_path, train(n_epochs=6, checkpointing=policy))
    run.run()
    assert policy.saved_keys == [4, 5]
    assert bundles(tmp_path / "train") == ["train_epoch4", "train_epoch5"]
    assert list(run.available_checkpoints) == ["train/train_epoch4", "train/train_epoch5"]
    assert all_verify(tmp_path)


@pytest.mark.parametrize("max_to_keep", [0, -3])
def test_a_number_to_keep_that_keeps_nothing_is_refused_at_once(max_to_keep):
    """16: both were accepted; -3 failed at the first save with an IndexError."""
    with pytest.raises(ValueError, match=r"^max_to_keep must be >= 1\.$"):
        on_disk(max_to_keep=max_to_keep)


def test_keys_are_in_the_order_of_the_epochs(tmp_path):
    """17: the order was 0, 1, 10, 11, 2, …"""
    policy = Checkpointing(mode="memory")
    experiment(None, train(n_epochs=12, checkpointing=policy)).run()
    assert policy.saved_keys == list(range(12))


@pytest.mark.parametrize("overwrite", [True, False])
def test_every_batch_keeps_a_checkpoint_of_its_own(tmp_path, overwrite):
    """18: the key was the epoch, so each batch replaced the one before, or training died."""
    policy = on_disk("batch_end", overwrite=overwrite)
    run = experiment(tmp_path, train(n_epochs=2, checkpointing=policy))
    run.run()
    assert policy.saved_keys == [f"epoch{e}_batch{b}" for e in range(2) for b in range(BATCHES)]
    assert len(bundles(tmp_path / "train")) == 2 * BATCHES
    steps = [holdfast.open(path).moment.step for path in run.available_checkpoints.values()]
    assert steps == list(range(1, 2 * BATCHES + 1))


def test_a_template_with_the_batch_and_the_ledger_agree(tmp_path):
    """19: ten files were written, and the ledger knew two."""
    policy = on_disk("batch_end", name_template="e{epoch}b{batch:02d}")
    experiment(tmp_path, train(n_epochs=2, checkpointing=policy)).run()
    assert bundles(tmp_path / "train") == [f"e{e}b{b:02d}" for e in range(2) for b in range(BATCHES)]
    assert [policy.get_path(key).name.removesuffix(".ckpt.mml") for key in policy.saved_keys] == bundles(
        tmp_path / "train"
    )


def test_start_epochs_and_end_of_a_phase_do_not_replace_each_other(tmp_path):
    """20: four saves gave two files, and `phase_start` had the key of epoch 0."""
    policy = on_disk("phase_start", "epoch_end", "phase_end")
    experiment(tmp_path, train(n_epochs=2, checkpointing=policy)).run()
    assert policy.saved_keys == [0, 1, "phase_end", "phase_start"]
    assert bundles(tmp_path / "train") == ["train_end", "train_epoch0", "train_epoch1", "train_start"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_start_and_end_of_a_phase_are_two_checkpoints_of_the_experiment(tmp_path, overwrite):
    """21: the second replaced the first, or failed after the phase had been trained."""
    policy = on_disk("phase_start", "phase_end", overwrite=overwrite)
    run = experiment(tmp_path, train(n_epochs=1), checkpointing=policy)
    run.run()
    assert bundles(tmp_path) == ["train", "train_start"]
    assert policy.saved_keys == ["train", "train_start"]


def test_a_label_with_a_dot_names_a_checkpoint_per_epoch(tmp_path):
    """22: the name was cut at the dot, so that four keys pointed to one file."""
    policy = on_disk()
    experiment(tmp_path, train("lr0.01", n_epochs=4, checkpointing=policy)).run()
    assert bundles(tmp_path / "lr0.01") == [f"lr0.01_epoch{epoch}" for epoch in range(4)]
    assert len({policy.get_path(key) for key in policy.saved_keys}) == 4


def test_a_name_without_a_template_is_a_clear_error():
    """23: an AttributeError about NoneType."""
    with pytest.raises(HoldfastError, match="there is no name_template yet") as caught:
        on_disk().format_name(epoch=1)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("template", ["{val_loss:.3f}", "{}", "{epoch.real}", "{epoch"])
def test_a_template_that_would_fail_at_the_first_save_is_refused_before_training(template):
    """24: it was accepted, and ended the run with a KeyError or IndexError."""
    with pytest.raises(HoldfastError) as caught:
        train(checkpointing=on_disk(name_template=template))
    assert isinstance(caught.value, ValueError)
    assert template in str(caught.value) or "val_loss" in str(caught.value)


def test_a_template_without_placeholders_is_one_rolling_checkpoint(tmp_path):
    """24: as there, and here by design: it holds the newest epoch, and says which."""
    policy = on_disk(name_template="latest")
    run = experiment(tmp_path, train(n_epochs=3, checkpointing=policy))
    run.run()
    assert bundles(tmp_path / "train") == ["latest"]
    assert holdfast.open(run.available_checkpoints["train/latest"]).moment.epoch == 2


def test_a_rolling_name_that_must_not_be_overwritten_is_refused_before_training(tmp_path):
    """24: it failed in the second epoch."""
    run = experiment(tmp_path, train(checkpointing=on_disk(name_template="latest", overwrite=False)))
    with pytest.raises(CheckpointExistsError):
        run.run()
    assert run.results == {}


@pytest.mark.parametrize(
    "bad", [{"save_on": []}, {"every_n": 1.5}, {"every_n": True}, {"every_n": 0}, {"mode": "dsik"}], ids=str
)
def test_values_without_a_meaning_are_refused_at_once(bad):
    """25: they were accepted."""
    with pytest.raises(HoldfastError) as caught:
        Checkpointing(**bad)
    assert isinstance(caught.value, ValueError)


def test_a_slip_in_a_hook_is_refused_when_the_policy_is_attached():
    """25: `epohc_end` never saved anything."""
    with pytest.raises(HoldfastError, match="epohc_end"):
        train(checkpointing=on_disk("epohc_end"))


def test_a_policy_for_disk_without_a_directory_is_refused_before_training():
    """25: it failed at the first save."""
    run = experiment(None, train(checkpointing=on_disk()))
    with pytest.raises(HoldfastError, match="pass directory="):
        run.run()
    assert run.results == {}


def test_one_policy_given_to_two_phases_keeps_two_folders_and_two_ledgers(tmp_path):
    """26: the second phase saved into the first one's folder, and the ledger forgot the first."""
    policy = on_disk(max_to_keep=2)
    first, second = train("first", checkpointing=policy), train("second", checkpointing=policy)
    experiment(tmp_path, first, second).run()
    for phase in (first, second):
        names = [f"{phase.label}_epoch1", f"{phase.label}_epoch2"]
        assert bundles(tmp_path / phase.label) == names
        assert phase.checkpointing.saved_keys == [1, 2]


def test_a_second_shorter_run_is_told_from_the_first_and_touches_only_names_of_its_own(tmp_path):
    """27: old epochs stayed mixed with new ones, and nothing told them apart."""

    def make(n_epochs, seed=0):
        return experiment(tmp_path, train(n_epochs=n_epochs, checkpointing=on_disk(max_to_keep=1)), seed=seed)

    long = make(4)
    long.run()
    kept = experiment(tmp_path, train(n_epochs=4, checkpointing=on_disk(name_template="old{epoch}")))
    kept.run()
    short = make(2, seed=1)
    short.run()
    runs = {each.record.name: each.record.run for each in holdfast.scan(tmp_path)}
    assert set(runs) == {"train_epoch3", "train_epoch1", "old0", "old1", "old2", "old3"}
    assert runs["train_epoch1"] == short.results.run
    assert runs["train_epoch3"] == long.results.run
    assert {runs[f"old{epoch}"] for epoch in range(4)} == {kept.results.run}

    again = make(2)
    again.run(resume=True)  # the newest is of the short run, whatever its epoch
    assert again.results.run == short.results.run
    assert again.state_digest() == short.state_digest()


def test_the_policy_of_an_experiment_survives_its_configuration(tmp_path):
    """28: the configuration of an experiment did not mention checkpointing."""
    policy = on_disk("phase_end", "group_end", every_n=2, max_to_keep=3, overwrite=False, directory=tmp_path)
    config = experiment(None, checkpointing=policy).checkpointing.get_config()
    again = experiment(None, checkpointing=Checkpointing.from_config(config))
    assert again.checkpointing.get_config() == config
    assert again.directory == tmp_path
