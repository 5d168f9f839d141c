"""The pages of `docs/`: their Python runs as it stands, one script a page, and prints what they say it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "\n```python\n" in page.read_text())


def blocks(page: Path, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return "\n".join(found) if language == "python" else "".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks(page, "python")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == blocks(page, "output")


def test_there_is_code_to_run():
    assert DOCS / "checkpointing.md" in PAGES
