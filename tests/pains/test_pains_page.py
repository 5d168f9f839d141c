"""The page of what people lose work to has an answer to each, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pains.md").read_text()
ROWS = [line.strip("|\n ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]


def test_every_test_on_the_page_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 25
    assert [f"{file}::{test}" for file, test in named if test not in names_in(ROOT / file)] == [
        "tests/x.py::test_y"
    ]


def test_all_twenty_five_have_an_answer_and_a_test():
    assert [int(row[0]) for row in ROWS] == [*range(1, 26)]
    assert [row[0] for row in ROWS if len(row) != 4 or not row[2] or "::test_" not in row[3]] == []


def names_in(file: Path) -> set[str]:
    if not file.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
