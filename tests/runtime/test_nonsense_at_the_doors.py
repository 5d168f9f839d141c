"""What makes no sense is refused at once, at every door, in words that name it; nothing is made."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Every, KeepEvery, KeepLast, Overhead, Run, Seconds
from holdfast.data import Dataset
from holdfast.errors import CheckpointNotFoundError, UsageError


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    return holdfast.save(tmp_path / "folder" / "a", {"w": np.zeros(2)})


@pytest.mark.parametrize("place", ["nope", "folder", None, 3, "", "s3://bucket/x", "folder/a/"])
def test_load_and_open_say_the_same(place, saved):
    said = []
    for door in (holdfast.open, holdfast.load):
        try:
            door(place)
            said.append("opened")
        except (UsageError, CheckpointNotFoundError) as err:
            said.append(f"{type(err).__name__}: {err}")
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "call",
    [
        lambda path: holdfast.archive(path, None),
        lambda path: holdfast.fork(path, None),
        lambda path: holdfast.average("runs/sv", "x"),
        lambda path: holdfast.average([path, path], None),
        lambda path: holdfast.scan(None),
        lambda path: holdfast.export(path, None),
        lambda path: holdfast.import_checkpoint(None, "x"),
        lambda path: holdfast.plan(None, KeepLast(1)),
        lambda path: holdfast.save(None, {"a": 1}),
    ],
)
def test_what_is_no_path_is_refused(call, saved):
    with pytest.raises(UsageError, match=r"must be a path, not None|must be a list|not None"):
        call(saved)


URL = "s3://bucket/x"


@pytest.mark.parametrize(
    "call",
    [
        lambda path: Run(URL, {"a": 1}),
        lambda path: Checkpointing(directory=URL),
        lambda path: holdfast.Write(share_with=URL),
        lambda path: holdfast.Experiment("a", directory=URL),
        lambda path: holdfast.save(URL, {"a": 1}),
        lambda path: holdfast.load(URL),
        lambda path: holdfast.open(URL),
        lambda path: holdfast.scan(URL),
        lambda path: holdfast.archive(path, URL),
        lambda path: holdfast.fork(path, URL),
        lambda path: holdfast.average([path, path], URL),
        lambda path: holdfast.export(path, URL + ".npz"),
        lambda path: holdfast.plan(URL, KeepLast(1)),
    ],
)
def test_a_url_is_refused_by_name(call, saved, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"'s3://bucket/x(\.npz)?' is a URL"):
        call(saved)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_rollback": 3}, "on_rollback .* cannot be called"),
        ({"allow_reread": "no"}, "allow_reread must be True or False"),
        ({"share_directory": 1}, "share_directory must be True or False"),
        ({"label": "a/b"}, "label"),
        (
            {"checkpointing": Checkpointing(when="batchend")},
            "a Run has no hook 'batchend', so nothing would be saved",
        ),
    ],
)
def test_the_arguments_of_a_run_are_looked_at_when_it_is_made(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        Run(tmp_path / "a", {"n": 0}, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("abc", {}, "data must be .* not 'abc'"),
        (b"abc", {}, "data must be"),
        (Dataset({"x": np.zeros(4)}), {"batch_size": "2"}, "batch_size must be an integer >= 1, not '2'"),
        (Dataset({"x": np.zeros(4)}), {"seed": "2"}, "seed must be an integer, not '2'"),
    ],
)
def test_batches_of_what_has_none_are_refused(data, options, message, tmp_path):
    with Run(tmp_path, {"n": 0}) as run:
        next(run.epochs(1))
        with pytest.raises(UsageError, match=message):
            next(run.batches(data, **options))


def test_conditions_and_choices_have_no_truth_value():
    with pytest.raises(UsageError, match=r"joined by \| \(any of\) and & \(all of\)"):
        Every("epoch_end") and Seconds(3)
    with pytest.raises(UsageError, match=r"joined by \|"):
        (Every("epoch_end") | Overhead(0.1)) or Seconds(3)
    with pytest.raises(UsageError, match=r"joined by \| and & MaxBytes"):
        KeepLast(3) or KeepEvery("6h")
    policy = Checkpointing(when=Every("epoch_end") | Seconds(3), keep=KeepLast(3) | KeepEvery("6h"))
    assert Checkpointing.from_config(policy.get_config()).get_config() == policy.get_config()


def test_a_policy_refuses_unknown_keys_and_directions():
    with pytest.raises(UsageError, match="has no 'max_to_kep'"):
        Checkpointing.from_config({"max_to_kep": 3})
    with pytest.raises(UsageError, match="direction"):
        Checkpointing.default(direction="up")
    with pytest.raises(UsageError, match="SIGKILL cannot be handled; choose another signal"):
        Checkpointing(save_on_preemption="SIGKILL")


def test_a_name_that_is_not_there_is_answered_by_what_is(tmp_path):
    with Run(tmp_path, {"n": 0}) as run:
        for _ in run.epochs(2):
            pass
    with pytest.raises(
        CheckpointNotFoundError, match=r"no checkpoint 'latest' here; it has \d, the newest is"
    ):
        Run(tmp_path, {"n": 0}, resume="latest").__enter__()


def test_words_have_their_article(tmp_path):
    path = holdfast.save(tmp_path / "a", {"w": np.zeros(2), "n": 3})
    with pytest.raises(holdfast.errors.StateMismatchError) as refused:
        holdfast.load(path, into={"w": 3, "n": np.zeros(2)})
    assert "a int" not in str(refused.value)
    assert "an int" in str(refused.value)
