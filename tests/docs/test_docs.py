"""The pages of `docs/`: their Python runs as it stands, one script a page, and prints what they say it prints."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "\n```python\n" in page.read_text())

OTHERS = [
    *("-W", "ignore:`isinstance(treespec, LeafSpec)`"),  # Lightning 2.6 under torch 2.13
    *("-W", "ignore:The 'train_dataloader' does not have many workers"),
    *("-W", "ignore:Checkpoint directory"),  # of ModelCheckpoint, that its own directory is not empty
]
"""Warnings of other people's packages."""


def blocks(page: Path, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return "\n".join(found) if language == "python" else "".join(found)


def missing(code: str) -> str | None:
    """A package that the code imports and that is not installed: an extra, whose page is not run without it."""
    for node in ast.walk(ast.parse(code)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if importlib.util.find_spec(name.partition(".")[0]) is None:
                return name
    return None


def is_slow(page: Path) -> bool:
    """Whether it imports a framework that takes seconds to load."""
    return page.parent.name == "integrations" or page.name.startswith(("quickstart-", "several-"))


@pytest.mark.medium
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * is_slow(page), id=page.name) for page in PAGES],
)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path):
    if (lacking := missing(blocks(page, "python"))) is not None:
        pytest.skip(f"{lacking} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "error", *OTHERS, "-c", blocks(page, "python")],
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


WRITTEN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.py")]
FLAT = [
    "every_seconds",
    "max_overhead",
    "mtbf_s",
    "keep_best",
    "keep_every",
    "when_busy",
    "on_error",
    "snapshot_check",
    "preemption_deadline_s",
    "preemption_signals",
    "preemption_exit_code",
]
"""Arguments that a policy had one by one before they were grouped."""


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_gives_a_policy_its_groups_and_no_mode(page: Path):
    text = page.read_text()
    assert 'mode="disk"' not in text
    assert [name for name in FLAT if re.search(rf"\b{name}\b", text)] == []
