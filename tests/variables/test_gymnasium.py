"""Scripts around real gymnasium, ported by the quickstart: killed with SIGKILL, they end in the bits of the uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.newborn import ONE_THREAD

pytest.importorskip("gymnasium")
pytest.importorskip("torch")

SCRIPTS = ROOT / "tests" / "support" / "integrations" / "gymnasium"
KILLS = 11, 60, 133


def run(directory: Path, script: str, *arguments: str, kill_at: int | None = None) -> dict[str, Any] | None:
    """What it printed; None if it was killed."""
    directory.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), str(-1 if kill_at is None else kill_at), *arguments],
        cwd=directory,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (0 if kill_at is None else -9), done.stderr
    return json.loads(done.stdout) if kill_at is None else None


CASES = [
    ("wrapped.py",),
    pytest.param(("vectors.py", "sync"), marks=pytest.mark.slow),
    pytest.param(("vectors.py", "vector_entry_point"), marks=pytest.mark.slow),
]


@pytest.mark.medium
@pytest.mark.parametrize("script", CASES, ids=" ".join)
def test_a_first_port_is_exact_with_the_environment_in_a_variable(script, tmp_path):
    wanted = run(tmp_path / "uninterrupted", *script)
    for kill_at in KILLS:
        run(tmp_path / "killed", *script, kill_at=kill_at)
    got = run(tmp_path / "killed", *script)
    assert wanted is not None
    assert got == wanted | {"verdict": "exact"}


@pytest.mark.slow
def test_environments_in_other_processes_are_named(tmp_path):
    run(tmp_path, "vectors.py", "async", kill_at=60)
    got = run(tmp_path, "vectors.py", "async")
    assert got is not None
    assert got["verdict"].startswith(("not exact: ", "exact but for: "))
    assert "envs" in got["verdict"]
