"""Who starts with Holdfast is led to `holdfast check` at once, and finds the first script proved."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_docs import blocks, missing

ROOT = Path(__file__).parents[2]
COMMAND = "holdfast check -- python train.py"
QUICKSTARTS = sorted((ROOT / "docs").glob("quickstart*.md"))
FRAMEWORKS = [
    page
    for page in sorted((ROOT / "docs" / "integrations").glob("*.md"))
    if page.stem not in ("README", "data", "trackers", "versions")
]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docs" / "experiment.md", *FRAMEWORKS], ids=lambda page: page.stem
)
def test_the_first_section_of_a_page_names_the_command(page):
    assert COMMAND in page.read_text().partition("\n## ")[0]


@pytest.mark.parametrize("page", QUICKSTARTS, ids=lambda page: page.stem)
def test_a_quickstart_names_the_command(page):
    assert f"$ {COMMAND}\n" in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("page", QUICKSTARTS, ids=lambda page: page.stem)
def test_the_script_of_a_quickstart_is_proved(page, tmp_path):
    if (lacking := missing(blocks(page, "python"))) is not None:
        pytest.skip(f"{lacking} is not installed")
    script = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)[:2]
    (tmp_path / "train.py").write_text("\n".join(script))
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "check", "--json", "--", sys.executable, "train.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["verdict"], report["resumed"], report["ends_epoch"]) == ("proved", "exact", True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["train.py"]
