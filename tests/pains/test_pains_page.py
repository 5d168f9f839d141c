"""The pages of what people lose work to have an answer to each pain, and name tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pains.md").read_text()
OF_MODULARML = (ROOT / "docs" / "integrations" / "modularml.md").read_text()


def rows(page: str) -> list[list[str]]:
    return [line.strip("|\n ").split(" | ") for line in page.splitlines() if re.match(r"\| \d+ \|", line)]


@pytest.mark.medium
def test_every_test_on_the_pages_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE + OF_MODULARML)
    assert len(named) > 65
    assert [f"{file}::{test}" for file, test in named if test not in names_in(ROOT / file)] == [
        "tests/x.py::test_y"
    ]


@pytest.mark.parametrize(("page", "number"), [(PAGE, 25), (OF_MODULARML, 40)])
def test_each_pain_has_an_answer_and_a_test(page, number):
    assert [int(row[0]) for row in rows(page)] == [*range(1, number + 1)]
    assert [row[0] for row in rows(page) if len(row) != 4 or not row[2] or "::test_" not in row[3]] == []


def names_in(file: Path) -> set[str]:
    if not file.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
