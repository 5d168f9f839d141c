"""`holdfast top` shows the runs that save below a directory, and what would be lost now."""

from __future__ import annotations

import json

import numpy as np

from holdfast import Checkpointing, Every, Run, Seconds, Write


def test_a_run_is_seen_while_it_runs_and_after_it_has_ended(tmp_path, holdfast):
    policy = Checkpointing(
        mode="disk", write=Write(background=False), when=Every("batch_end", 2) | Seconds(3600)
    )
    with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
        for step in run.steps(5):
            if step == 4:
                [seen] = map(json.loads, holdfast("top", tmp_path, "--once", "--json").stdout.splitlines())
                text = holdfast("top", tmp_path, "--once").stdout
    assert seen["is_running"] is True
    assert (seen["saves"], seen["newest"]["moment"]["step"]) == (2, 4)
    assert seen["at_risk_s"] >= 0
    assert seen["bytes_written"] == run.accounting.bytes_written
    assert seen["newest"]["details"]["cadence"] == "every 3.6e+03 s: Seconds(3600)"
    title, row = text.splitlines()
    assert title.split()[:4] == ["run", "state", "saves", "newest"]
    assert row.split()[1:4] == ["running", "2", "train_epoch0_batch3"]
    [ended] = map(json.loads, holdfast("top", tmp_path, "--once", "--json").stdout.splitlines())
    assert (ended["is_running"], ended["at_risk_s"]) == (False, None)


def test_runs_in_several_directories_are_told_apart(tmp_path, holdfast):
    for place in ("one", "two"):
        with Run(tmp_path / place, {"place": np.zeros(1)}, checkpointing=Checkpointing(mode="disk")) as run:
            for _ in run.epochs(2):
                pass
    with Run(tmp_path / "one", {"place": np.zeros(1)}, checkpointing=Checkpointing(mode="disk")) as run:
        lines = holdfast("top", tmp_path, "--once", "--json").stdout.splitlines()
        seen = {one["newest"]["path"].split("/")[-2]: one["is_running"] for one in map(json.loads, lines)}
        assert seen == {"one": True, "two": False}


def test_a_directory_without_checkpoints_says_so_and_one_that_is_not_there_is_an_error(tmp_path, holdfast):
    shown = holdfast("top", tmp_path, "--once")
    assert (shown.exit_code, shown.stdout) == (0, f"No run has saved anything in {tmp_path} yet.\n")
    assert holdfast("top", tmp_path / "nowhere", "--once").exit_code == 2


def test_ls_and_show_tell_what_each_save_has_cost_and_the_cadence(tmp_path, holdfast):
    policy = Checkpointing(mode="disk", when=Every("epoch_end") | Seconds(3600))
    with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
        for _ in run.epochs(1):
            pass
    listed = holdfast("ls", tmp_path).stdout
    for title in ("captured", "blocked", "behind", "durability"):
        assert title in listed.splitlines()[0]
    assert listed.splitlines()[-1] == "saving every 3.6e+03 s: Seconds(3600)"
    shown = holdfast("show", tmp_path / "train_epoch0").stdout
    assert " s in the background" in shown
    assert "cadence" in shown
    assert "of it blocked by saves" in shown
