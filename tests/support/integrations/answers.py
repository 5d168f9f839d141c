"""What a script of tests answers, which trains with one integration in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NEEDS = {
    "own_loop": "torch",
    "experiment": "torch",
    "sklearn_loop": "sklearn",
    "grid_search": "sklearn",
    "jax_loop": "jax",
    "keras_jax": "keras",
}
"""What has to be installed for a name that is no package's own."""


def answer_of(script: str, name: str, directory: Path) -> Any:
    """The last line that `script` prints for the integration `name`, as JSON; skipped if that is not installed."""
    if importlib.util.find_spec(NEEDS.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, script, name, directory],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
