"""A fork begins a run of its own with an old checkpoint: shared files, changed settings, and a lineage that can be drawn."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import holdfast
from holdfast import scan, state
from holdfast.cli import app
from holdfast.errors import UsageError
from tests.support.integrations.own_loop import policy as loop_policy
from tests.support.integrations.own_loop import train as loop
from tests.support.small_runs import bundles, experiment, graph, on_disk, train


def build(directory, lr: float, n_epochs: int, **options):
    models = graph(scheduler=None, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=lr))
    return experiment(directory, train(n_epochs=n_epochs, checkpointing=on_disk(**options)), graph=models)


def run(directory, *, lr=0.05, n_epochs=3, resume=False, override=(), **options):
    made = build(directory, lr, n_epochs, **options)
    made.run(resume=holdfast.Resume(resume, override=override), progress=False)
    return made


def holdfast_command(*arguments) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_fork_is_a_run_of_its_own_that_knows_where_it_comes_from(tmp_path):
    first = run(tmp_path / "a")
    origin = holdfast.open(tmp_path / "a/train/train_epoch1.ckpt.mml")
    forked = holdfast.fork(tmp_path / "a/train/train_epoch1.ckpt.mml", tmp_path / "b")
    record = forked.record
    assert record.details["forked_from"] == {
        "id": origin.record.id,
        "run": origin.record.run,
        "path": str(tmp_path / "a/train/train_epoch1.ckpt.mml"),
    }
    assert (record.parent, record.run != origin.record.run) == (origin.record.id, True)
    with holdfast.open(forked) as opened:
        assert opened.verify(deep=True) == []
        assert state.digest(opened.source) == state.digest(origin.source)
    again = run(tmp_path / "b", resume=True)
    assert again.state_digest() == first.state_digest(), "with the same settings it ends as the first"
    assert {listed.record.run for listed in scan(tmp_path / "b")} == {record.run}
    assert again.results.run == record.run
    assert [entry.run for entry in again.history] == [first.history[0].run, record.run]
    assert again.history[1].resumed_from == ["train_epoch1"]


def test_a_fork_resumes_with_settings_that_the_script_has_changed(tmp_path):
    run(tmp_path / "a")
    holdfast.fork(tmp_path / "a/train/train_epoch0.ckpt.mml", tmp_path / "b")
    changed = run(tmp_path / "b", lr=0.5, resume=True, override=("lr",))
    assert changed.graph.optimizers[0].param_groups[0]["lr"] == 0.5
    # Killed or not, from now on it is a run like any other: it ends the same, and its new setting is its own.
    holdfast.fork(tmp_path / "a/train/train_epoch0.ckpt.mml", tmp_path / "c")
    run(tmp_path / "c", lr=0.5, n_epochs=2, resume=True, override=("lr",))
    again = run(tmp_path / "c", lr=0.5, resume=True)  # needs no override any more
    assert again.state_digest() == changed.state_digest()
    assert again.last_resume.record.name == "train_epoch1"


def test_a_fork_shares_the_files_of_its_origin_and_outlives_it(tmp_path):
    model = nn.Linear(600, 600)
    with holdfast.Run(tmp_path / "a", {"model": model}, checkpointing=loop_policy()) as loop_run:
        place = loop_run.save("start")
    forked = holdfast.fork(place, tmp_path / "b")
    pack = next(entry.name for entry in forked.record.packs if entry.size > 1_000_000)
    assert os.stat(f"{forked.path}/{pack}").st_nlink == 2
    assert forked.record.bytes_shared >= 4 * 600 * 600 > forked.record.bytes_written
    shutil.rmtree(tmp_path / "a")
    with holdfast.open(forked) as opened:
        assert opened.verify(deep=True) == []
        assert torch.equal(opened["model/weight"], model.weight.detach())


def test_no_retention_gives_up_the_checkpoint_that_a_fork_began_with(tmp_path):
    loop(tmp_path / "a", loop_policy(save_on="epoch_end", max_to_keep=None))
    forked = holdfast.fork(tmp_path / "a/train_epoch0.ckpt.mml", tmp_path / "b")
    policy = {"save_on": "epoch_end", "max_to_keep": 1}
    loop(tmp_path / "b", loop_policy(**policy), n_epochs=3)
    loop(
        tmp_path / "b", loop_policy(**policy), n_epochs=5
    )  # that it was resumed from another does not matter
    assert bundles(tmp_path / "b") == ["train_epoch0", "train_epoch2", "train_epoch4"]
    assert scan(tmp_path / "b")[0].record.id == forked.record.id


@pytest.mark.medium
def test_a_loop_forked_with_the_same_settings_ends_as_the_first(tmp_path):
    complete, first = loop(tmp_path / "a", loop_policy(max_to_keep=None))
    holdfast.fork(tmp_path / "a/train_epoch1_batch3.ckpt.mml", tmp_path / "b")
    digest, second = loop(tmp_path / "b")
    assert digest == complete
    assert second.moment.run != first.moment.run


def test_a_fork_needs_a_directory_without_checkpoints(tmp_path):
    loop(tmp_path / "a")
    newest = scan(tmp_path / "a")[-1]
    before = [listed.record.id for listed in scan(tmp_path / "a")]
    with pytest.raises(UsageError, match="needs a directory of its own"):
        holdfast.fork(newest, tmp_path / "a")
    assert [listed.record.id for listed in scan(tmp_path / "a")] == before


def test_a_damaged_checkpoint_is_not_forked(tmp_path):
    loop(tmp_path / "a")
    newest = scan(tmp_path / "a")[-1]
    pack = next((tmp_path / "a").glob(f"{newest.record.name}.ckpt.mml/*.safetensors"))
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    with pytest.raises(holdfast.errors.DamagedError):
        holdfast.fork(newest, tmp_path / "b")
    assert not list(tmp_path.glob("b/*"))


def test_the_log_draws_runs_forks_and_lines_that_were_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = {"save_on": "epoch_end", "max_to_keep": None}
    loop("a", loop_policy(**policy))
    said = holdfast_command("fork", "a/train_epoch1", "b")
    assert said.startswith("b/train_epoch1.ckpt.mml: run ")
    loop("b", loop_policy(**policy))

    class Stop(Exception): ...

    def stop(number: int) -> None:
        if number == 16:
            raise Stop

    with pytest.raises(Stop):  # goes back, saves epoch 1 anew, and leaves epoch 2 of the line before
        loop("a", loop_policy(**policy), resume="train_epoch0", at_batch=stop)
    run_a, run_b = (scan(place)[0].record.run[:8] for place in ("a", "b"))
    # The epoch 1 that b was forked from has been saved over: b's own first checkpoint is a root now.
    assert holdfast_command("log", "a", "b").splitlines() == [
        f"run {run_a} in a",
        "● train_epoch0  train · epoch 0 end · step 2",
        "├─ left",
        "│  ● train_epoch2  train · epoch 2 end · step 8",
        "● train_epoch1  train · epoch 1 end · step 5",
        "",
        f"run {run_b} in b",
        "● train_epoch1  train · epoch 1 end · step 5",
        "● train_epoch2  train · epoch 2 end · step 8",
    ]


def test_the_log_hangs_a_fork_below_its_origin_and_says_so_in_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = {"save_on": "epoch_end", "max_to_keep": None}
    loop("a", loop_policy(**policy))
    holdfast.fork("a/train_epoch1.ckpt.mml", "b")
    loop("b", loop_policy(**policy))
    run_a, run_b = (scan(place)[0].record.run for place in ("a", "b"))
    holdfast_command("pin", "a/train_epoch2")
    assert holdfast_command("log", "a", "b").splitlines() == [
        f"run {run_a[:8]} in a",
        "● train_epoch0  train · epoch 0 end · step 2",
        "● train_epoch1  train · epoch 1 end · step 5",
        f"├─ fork: run {run_b[:8]} in b",
        "│  ● train_epoch1  train · epoch 1 end · step 5",
        "│  ● train_epoch2  train · epoch 2 end · step 8",
        "● train_epoch2  train · epoch 2 end · step 8 · pinned",
    ]
    lines = [json.loads(line) for line in holdfast_command("log", "a", "b", "--json").splitlines()]
    by_path = {line["path"]: line for line in lines}
    assert [line["path"] for line in lines if line["pinned"]] == ["a/train_epoch2.ckpt.mml"]
    fork = by_path["b/train_epoch1.ckpt.mml"]
    assert (fork["relation"], fork["parent_path"]) == ("fork", "a/train_epoch1.ckpt.mml")
    assert fork["forked_from"]["run"] == run_a
    assert fork["parent"] == by_path["a/train_epoch1.ckpt.mml"]["id"]
    assert [line["relation"] for line in lines if line["run"] == run_a] == ["root", "next", "next"]


def test_a_fork_below_its_origin_is_not_taken_for_the_newest_of_it(tmp_path):
    """`runs/digits/faster` is where people put it; going on with `runs/digits` must not go on with that."""
    first = run(tmp_path / "a", n_epochs=1)
    holdfast.fork(tmp_path / "a/train/train_epoch0.ckpt.mml", tmp_path / "a/faster")
    again = run(tmp_path / "a", n_epochs=1, resume=True)
    assert again.last_resume.path == str(tmp_path / "a/train/train_epoch0.ckpt.mml"), (
        "before the fork was run"
    )
    run(tmp_path / "a/faster", lr=0.5, n_epochs=3, resume=True, override=("lr",))
    again = run(tmp_path / "a", n_epochs=1, resume=True)
    assert again.state_digest() == first.state_digest()
    asked = run(tmp_path / "a", lr=0.5, n_epochs=3, resume="faster/train/train_epoch2")
    assert asked.last_resume.path == str(tmp_path / "a/faster/train/train_epoch2.ckpt.mml"), (
        "by name it can be"
    )
