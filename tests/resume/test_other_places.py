"""A run goes on wherever its directory is now, and past checkpoints that are no longer what was saved."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import holdfast
from holdfast import Write
from holdfast.errors import CheckpointDamagedError, DamagedError
from tests.support import small_runs
from tests.support.plans import Saving, crash, listing, resume

CRASH_AT = 60  # of 66 hooks of the plan: within the last epoch of the second phase


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """The directory of a run that was saved at every hook and ended in its second phase; to be copied."""
    directory = tmp_path_factory.mktemp("crashed")
    crash("plain", Saving(str(directory)), CRASH_AT)
    return directory


def move(old: Path, new: Path) -> None:
    shutil.move(old, new)


def copy_files(old: Path, new: Path) -> None:
    subprocess.run(["cp", "-r", old, new], check=True)


def copy_sharing(old: Path, new: Path) -> None:
    subprocess.run(["cp", "-a", old, new], check=True)


def pack_and_unpack(old: Path, new: Path) -> None:
    archive = shutil.make_archive(f"{new}-archive", "tar", old)
    shutil.unpack_archive(archive, new)


@pytest.mark.medium
@pytest.mark.parametrize("bring", [move, copy_files, copy_sharing, pack_and_unpack])
def test_a_directory_that_was_moved_or_copied_resumes(bring, crashed, uninterrupted, tmp_path):
    shutil.copytree(crashed, tmp_path / "old")
    newest = listing(crashed)[-1]
    (tmp_path / "other").mkdir()
    bring(tmp_path / "old", tmp_path / "other" / "new")
    resumed = resume("plain", Saving(str(tmp_path / "other" / "new")))
    assert resumed.last_resume.record.name == newest[0]
    assert resumed.state_digest() == uninterrupted("plain").digest


def test_a_directory_may_be_named_relative_to_where_the_script_runs(
    crashed, uninterrupted, tmp_path, monkeypatch
):
    shutil.copytree(crashed, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert resume("plain", Saving("runs")).state_digest() == uninterrupted("plain").digest


@pytest.mark.parametrize("background", [True, False])
def test_a_script_may_go_to_another_directory_while_it_trains(background, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    policy = small_runs.on_disk(
        "batch_end", write=Write(durability="process", background=background), max_to_keep=2
    )
    leave = small_runs.At("batch_end", 0, 1, do=lambda context: os.chdir(tmp_path / "elsewhere"))
    phase = small_runs.train(checkpointing=policy, callbacks=[leave])
    small_runs.experiment("runs", phase).run(progress=False)
    assert [*(tmp_path / "elsewhere").iterdir()] == []
    assert [listed.record.name for listed in holdfast.scan(tmp_path / "runs")] == [
        "train_epoch2_batch3",
        "train_epoch2_batch4",
    ]


def test_an_experiment_in_a_directory_below_is_not_the_newest_of_this_one(crashed, uninterrupted, tmp_path):
    shutil.copytree(crashed, tmp_path / "runs")
    shutil.copytree(crashed, tmp_path / "runs" / "backup")
    resume("plain", Saving(str(tmp_path / "runs" / "backup")))  # ends there, with greater numbers
    resumed = resume("plain", Saving(str(tmp_path / "runs")))
    assert resumed.last_resume.record.name == listing(crashed)[-1][0]
    assert "backup" not in resumed.last_resume.path
    assert resumed.state_digest() == uninterrupted("plain").digest


@pytest.mark.medium
def test_a_new_experiment_begins_from_scratch_above_others(crashed, tmp_path):
    shutil.copytree(crashed, tmp_path / "sweep" / "one")
    assert resume("plain", Saving(str(tmp_path / "sweep"))).last_resume is None


def test_a_path_may_be_given_as_it_is_printed(crashed, uninterrupted, tmp_path, monkeypatch):
    shutil.copytree(crashed, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    newest = holdfast.scan("runs")[-1].path.removesuffix(".ckpt.mml")
    resumed = resume("plain", Saving("runs"), newest)
    assert resumed.state_digest() == uninterrupted("plain").digest


# --- damage -------------------------------------------------------------------------------------------


def cut_record(bundle: Path) -> None:
    record = bundle / "checkpoint.json"
    record.write_bytes(record.read_bytes()[:-100])


def empty_record(bundle: Path) -> None:
    (bundle / "checkpoint.json").write_bytes(b"")


def remove_record(bundle: Path) -> None:
    (bundle / "checkpoint.json").unlink()


def flip_a_bit_of_the_arrays(bundle: Path) -> None:
    pack = max(bundle.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)


def cut_the_arrays(bundle: Path) -> None:
    pack = max(bundle.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    pack.write_bytes(pack.read_bytes()[:-1])


def flip_a_bit_of_the_tree(bundle: Path) -> None:
    tree = tree_of(bundle)
    data = bytearray(tree.read_bytes())
    data[len(data) // 2] ^= 1
    tree.write_bytes(data)


def remove_the_tree(bundle: Path) -> None:
    tree_of(bundle).unlink()


def tree_of(bundle: Path) -> Path:
    (tree,) = (file for file in bundle.glob("*.json") if file.name != "checkpoint.json")
    return tree


DAMAGES = [
    cut_record,
    empty_record,
    remove_record,
    flip_a_bit_of_the_arrays,
    cut_the_arrays,
    flip_a_bit_of_the_tree,
    remove_the_tree,
]


def damage_newest(directory: Path, damage, number: int = 1) -> list[Path]:
    bundles = [Path(each.path) for each in holdfast.scan(directory)][-number:]
    for bundle in bundles:
        damage(bundle)
    return bundles


@pytest.mark.medium
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_past_a_damaged_checkpoint_the_run_resumes_from_the_one_before(
    damage, overwrite, crashed, uninterrupted, tmp_path, caplog
):
    directory = tmp_path / "run"
    shutil.copytree(crashed, directory)
    names = [each[0] for each in listing(directory)]
    bundles = damage_newest(directory, damage, 2)
    with caplog.at_level(logging.WARNING, "holdfast"):
        policies = {"training": {"overwrite": overwrite}, "experiment": {"overwrite": overwrite}}
        resumed = resume("plain", Saving(str(directory), **policies))
    assert resumed.last_resume.record.name == names[-3]
    assert resumed.state_digest() == uninterrupted("plain").digest
    for bundle in bundles:
        assert any(f"skipped {bundle}" in each.message for each in caplog.records)
        assert any(each.startswith(str(bundle)) for each in resumed.last_resume.skipped)
        if "record" in damage.__name__:  # it may be anybody's, so it is kept
            assert len([*bundle.parent.glob(f"{bundle.name}.damaged-*")]) == 1
    assert not any(each.problem for each in holdfast.scan(directory))


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_all_are_damaged_the_run_says_so_and_does_not_start_again(damage, crashed, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(crashed, directory)
    damage_newest(directory, damage, 1000)
    before = sorted(directory.rglob("*"))
    with pytest.raises(CheckpointDamagedError, match="none of its checkpoints can be used") as caught:
        resume("plain", Saving(str(directory)))
    assert str(caught.value).count("holdfast verify") == 1, "what to do is said once, not once for each"
    assert [each for each in sorted(directory.rglob("*")) if each.name != ".run.lock"] == [
        each for each in before if each.name != ".run.lock"
    ]


def test_a_damaged_checkpoint_that_was_requested_is_not_replaced_by_another(crashed, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(crashed, directory)
    (bundle,) = damage_newest(directory, flip_a_bit_of_the_arrays)
    with pytest.raises(DamagedError):
        resume("plain", Saving(str(directory)), str(bundle))
