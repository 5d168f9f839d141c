"""The lists of what can be saved, by framework, are what saving and restoring one of each finds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from tests.support import ROOT

NEEDED = ("flax", "keras", "lightgbm", "optax", "pandas", "scipy", "sklearn", "torch", "xgboost")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_the_page_lists_what_is_taken_and_what_is_not():
    command = [sys.executable, "-m", "tests.support.taken.page", "--check"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, f"{found.stdout}{found.stderr}\nrun python -m tests.support.taken.page"
