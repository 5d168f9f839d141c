"""A process that can open no more files is told so: no checkpoint is called damaged, and none is renamed or skipped."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run

AMONG_FEW = """
import resource
import sys

import numpy as np

import holdfast
from holdfast import Checkpointing, Run
from holdfast.errors import TooManyOpenFilesError

parts = [np.zeros(9000) for _ in range(40)]
if sys.argv[2] == "resume":
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
try:
    if sys.argv[2] == "scan":
        holdfast.scan(sys.argv[1])
        held = [open("/dev/null") for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1].fileno() + 1,) * 2)
        holdfast.scan(sys.argv[1])
    else:
        with Run(sys.argv[1], {"parts": parts}, checkpointing=Checkpointing(save_on="batch_end")) as run:
            pass
except TooManyOpenFilesError as err:
    print(err)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of many files: each step changes one of forty arrays."""
    directory = tmp_path_factory.mktemp("run")
    parts = [np.zeros(9000) for _ in range(40)]
    policy = Checkpointing(save_on="batch_end", max_to_keep=2)
    with Run(directory, {"parts": parts}, checkpointing=policy) as run:
        for step in run.steps(42):
            parts[step % 40][:] = step + 1
    assert len(holdfast.scan(directory)[-1].record.packs) > 32
    return directory


@pytest.mark.medium
@pytest.mark.parametrize("what", ["resume", "scan"])
def test_the_limit_is_named_and_nothing_is_called_damaged(what, saved):
    before = sorted(os.listdir(saved))
    done = subprocess.run([sys.executable, "-c", AMONG_FEW, saved, what], capture_output=True, text=True)
    assert "ulimit -n" in done.stdout, done.stderr
    assert "damaged" not in done.stdout + done.stderr
    assert "skipped" not in done.stdout + done.stderr
    assert sorted(os.listdir(saved)) == before
