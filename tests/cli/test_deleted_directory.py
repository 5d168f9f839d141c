"""Every command works, or fails with one line, where the working directory has been removed under it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run

TRAIN = """
import sys
import numpy as np
from holdfast import Checkpointing, Run
weights = np.zeros(3)
with Run(sys.argv[1], {"weights": weights}, checkpointing=Checkpointing(save_on="batch_end")) as run:
    for _ in run.steps(3):
        weights += 1
print(weights)
"""
ALL = """
import json, os, sys
from typer.testing import CliRunner
from holdfast.cli import app
os.rmdir(os.getcwd())
ended = [CliRunner().invoke(app, line) for line in json.load(sys.stdin)]
print(json.dumps([[each.exit_code, repr(each.exception), each.output] for each in ended]))
"""
LINES = [
    *((f"{name} DIR", 0) for name in ("ls", "du", "log", "verify", "top --once", "prune --keep-last 9")),
    *((name, 0) for name in ("ls", "du", "log", "top --once", "--version", "ls --help")),
    *((name, 2) for name in ("verify", "prune . --keep-last 9", "pin x", "rm -y x", "show x", "diff x y")),
    ("show BUNDLE", 0),
    ("diff BUNDLE BUNDLE", 0),
    ("pin BUNDLE", 0),
    ("unpin BUNDLE", 0),
    ("archive BUNDLE DIR/../archive", 0),
    ("archive BUNDLE archive", 5),
    ("export BUNDLE DIR/../out.npz", 0),
    ("export BUNDLE out.npz", 5),
    ("import DIR/../a.npz DIR/../imported", 0),
    ("import a.npz imported", 2),
    ("fork BUNDLE DIR/../fork", 0),
    ("average BUNDLE BUNDLE --out DIR/../average", 0),
    ("bisect DIR -- true", 0),
    ("replay BUNDLE -- PYTHON train.py", 2),
    ("check -- PYTHON DIR/../train.py DIR/../checked", 0),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    (place / "train.py").write_text(TRAIN)
    np.savez(place / "a.npz", weights=np.zeros(3))
    with Run(
        place / "run", {"weights": np.zeros(3)}, checkpointing=Checkpointing(save_on="batch_end")
    ) as run:
        for _ in run.steps(4):
            pass
    return place


def in_a_deleted_directory(tmp_path, code, *arguments, **options):
    (tmp_path / "gone").mkdir()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=tmp_path / "gone", capture_output=True, text=True, **options)


@pytest.mark.medium
def test_the_commands(saved, tmp_path):
    words = {"DIR": saved / "run", "BUNDLE": holdfast.scan(saved / "run")[0].path, "PYTHON": sys.executable}
    told = [
        [
            "/".join([str(words.get(first, first)), *rest])
            for first, *rest in (w.split("/") for w in line.split())
        ]
        for line, _ in LINES
    ]
    ended = in_a_deleted_directory(tmp_path, ALL, input=json.dumps(told))
    assert ended.returncode == 0, ended.stderr
    for (line, code), (found, error, output) in zip(LINES, json.loads(ended.stdout), strict=True):
        assert found == code, (line, error, output)
        assert error == "None" or error.startswith("SystemExit"), (line, error, output)


@pytest.mark.medium
def test_a_run_whose_directory_is_absolute(saved, tmp_path):
    code = f"import os; os.rmdir(os.getcwd())\n{TRAIN}"
    ended = in_a_deleted_directory(tmp_path, code, saved / "another")
    assert ended.stdout == "[3. 3. 3.]\n", ended.stderr
    assert len(holdfast.scan(saved / "another")) == 3
