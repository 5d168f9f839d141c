"""The lists of what can be saved, by framework, are what saving and restoring one of each finds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT

for name in ("flax", "keras", "lightgbm", "optax", "pandas", "scipy", "sklearn", "torch", "xgboost"):
    pytest.importorskip(name, exc_type=ImportError) if name != "keras" else None


@pytest.mark.slow
def test_the_page_lists_what_is_taken_and_what_is_not():
    command = [sys.executable, "-m", "tests.support.taken.page", "--check"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, f"{found.stdout}{found.stderr}\nrun python -m tests.support.taken.page"
