"""Weights that are written again between the restore and the first step are named, or put back, in each integration."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.support.integrations import spoiling
from tests.support.integrations.spoiling import MENDED, NEEDS, TRAININGS


@pytest.mark.parametrize("name", TRAININGS)
def test_weights_written_before_the_first_step_are_named_or_put_back(name, tmp_path):
    if importlib.util.find_spec(NEEDS.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, spoiling.__file__, name, tmp_path],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    undisturbed, spoiled = answer["undisturbed"], answer["spoiled"]
    assert undisturbed["verdict"] == undisturbed["saved"] == "exact"
    assert spoiled["saved"] == spoiled["verdict"]
    if name in MENDED:
        assert spoiled == undisturbed
    else:
        assert spoiled["verdict"].startswith("not exact: ")
        assert spoiled["verdict"].endswith("changed before the first step")
        assert spoiled["digest"] != undisturbed["digest"], "the script spoils nothing"
