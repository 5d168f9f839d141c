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

from tests.support.preloaded import FRAMEWORKS, preloaded, with_its_framework

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
    command = [sys.executable, script, name, str(directory)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if name in FRAMEWORKS or NEEDS.get(name) in ("torch", "sklearn"):
        interpreter = preloaded(NEEDS.get(name, name))
        done = interpreter.run(command, env=environment, cwd=directory, timeout=300)
    else:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            cwd=directory,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def by_name(*names: str) -> list[Any]:
    """Of each a case, which runs where its framework has been imported."""
    return [pytest.param(name, marks=with_its_framework(NEEDS.get(name, name))) for name in names]
