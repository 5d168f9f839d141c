"""An optimizer that works along and is in no checkpoint is named once in every integration, and no resume is exact."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.support.integrations import forgotten
from tests.support.integrations.spoiling import NEEDS

NAMED = "an optimizer (Adam) trains and is not in the run"


@pytest.mark.parametrize("name", sorted(forgotten.WITH_TORCH))
def test_an_optimizer_that_nobody_handed_over_is_named(name, tmp_path):
    if importlib.util.find_spec(NEEDS.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, forgotten.__file__, name, tmp_path],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["verdict"] == f"not exact: {NAMED}"
    about = [line for line in answer["warned"] if line.startswith(NAMED)]
    assert len(about) == 1
    assert ", so that no resume is exact: " in about[0]
