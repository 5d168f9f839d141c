"""`holdfast verify` reads every byte, and names what is not as it was saved."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from holdfast.cli.inspect import verify


def test_intact_checkpoints_are_ok(experiment, holdfast):
    for name in ("a", "phase/b"):
        experiment.save(name)
    for options in ((), ("--deep",)):
        shown = holdfast("verify", experiment.directory, *options)
        assert shown.exit_code == 0
        assert "2 checkpoints: 2 ok" in shown.stdout


@pytest.mark.parametrize("leaf", ["frozen", "weight"])
def test_damage_is_named_by_leaf_file_and_digests(experiment, holdfast, leaf):
    experiment.save("good")
    bad = experiment.save("bad", {"frozen": np.ones(50_000), "weight": np.zeros(3)})
    experiment.rot(bad, leaf)
    shown = holdfast("verify", experiment.directory)
    assert shown.exit_code == 1
    good_line, bad_line, problem = shown.stdout.splitlines()[:3]
    assert good_line.split()[:2] == ["ok", "good"]
    assert bad_line.split()[:2] == ["damaged", "bad"]
    assert f"leaf {leaf}: " in problem
    [entry] = [json.loads(line) for line in holdfast("verify", bad, "--json").stdout.splitlines()]
    assert entry["status"] == "damaged"
    [found] = entry["problems"]
    assert found["leaf"] == leaf
    assert found["file"] in problem
    assert found["expected"][:12] in problem
    assert found["found"][:12] in problem
    assert found["expected"] != found["found"]


def test_a_rotten_shared_file_damages_every_checkpoint_that_shares_it(experiment, holdfast):
    first = experiment.save("a")
    experiment.save("b")
    experiment.rot(first, "frozen")
    assert "2 damaged" in holdfast("verify", experiment.directory).stdout


def test_missing_cut_and_foreign_files_are_damage(experiment, holdfast):
    no_record, cut_tree, no_pack = (experiment.save(name) for name in "abc")
    (no_record / "checkpoint.json").unlink()
    tree = next(file for file in cut_tree.glob("*.json") if file.name != "checkpoint.json")
    tree.write_bytes(tree.read_bytes()[:-1])
    for pack in no_pack.glob("*.safetensors"):
        pack.unlink()
    shown = holdfast("verify", experiment.directory)
    assert shown.exit_code == 1
    assert "3 checkpoints: 3 damaged" in shown.stdout
    assert "it has no record" in shown.stdout
    assert f"{tree.name} has" in shown.stdout
    assert "is missing" in shown.stdout


def test_a_newer_format_is_not_called_damage(experiment, holdfast):
    record = experiment.save("a") / "checkpoint.json"
    body = record.read_bytes().replace(b'"format":1', b'"format":3').rpartition(b',"digest"')[0]
    record.write_bytes(body + b',"digest":"%s"}' % blake3(body).hexdigest().encode())
    shown = holdfast("verify", experiment.directory)
    assert shown.exit_code == 3
    assert "format version 3; this Holdfast reads up to 2" in shown.stdout
    assert "1 in a newer format" in holdfast("ls", experiment.directory).stdout
    assert holdfast("show", record.parent).exit_code == 3


def test_one_bundle_can_be_verified_alone(experiment, holdfast):
    good, bad = experiment.save("a"), experiment.save("b")
    experiment.rot(bad, "weight")
    assert holdfast("verify", good).exit_code == 0
    assert holdfast("verify", bad).exit_code == 1


def test_nothing_to_verify_is_never_all_well(tmp_path, holdfast):
    for place in (tmp_path, tmp_path / "nowhere"):
        shown = holdfast("verify", place)
        assert shown.exit_code == 2
        assert str(place) in shown.stderr
        assert not shown.stdout


def test_a_checkpoint_that_is_deleted_meanwhile_is_no_damage(experiment):
    experiment.save("a")
    [listed] = verify.find_all(str(experiment.directory))
    for file in Path(listed.path).iterdir():
        file.unlink()
    Path(listed.path).rmdir()
    assert verify.check(listed, deep=False).status == "gone"


def test_many_damaged_leaves_are_cut_on_paper_and_complete_in_json(experiment, holdfast):
    place = experiment.save("a", {f"w{index}": np.full(8, index) for index in range(30)})
    pack = next(place.glob("*.safetensors"))
    data = bytearray(pack.read_bytes())
    data[-8 * 8 * 30 :] = b"\xff" * (8 * 8 * 30)
    pack.write_bytes(data)
    assert "… 10 more" in holdfast("verify", place).stdout
    assert len(json.loads(holdfast("verify", place, "--json").stdout)["problems"]) == 30


@pytest.mark.medium
def test_progress_is_shown_on_a_terminal_and_never_mixed_into_the_output(experiment):
    experiment.save("a")
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "verify", str(experiment.directory)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=os.environ | {"FORCE_COLOR": "1"},  # makes a pipe look like a terminal to those who do not look
    )
    os.close(terminal)
    output, _ = process.communicate(timeout=60)
    assert b"1 checkpoint: " in output
    assert "━".encode() not in output
    assert "━".encode() in os.read(controller, 65536)
    os.close(controller)
