"""The page of promises names tests that exist, and leaves no promise without one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.findall(r"^- `(tests/[\w/]+\.py)::(test_\w+)`", PAGE, re.MULTILINE)


def test_every_test_on_the_page_exists():
    missing = [f"{file}::{test}" for file, test in NAMED if test not in names_in(ROOT / file)]
    assert missing == []


def test_every_promise_is_there_with_tests_but_the_one_of_what_is_not_promised():
    parts = re.split(r"^\*\*P(\d+) ", PAGE.partition("\n## Tests of the tests")[0], flags=re.MULTILINE)[1:]
    numbers, texts = [int(number) for number in parts[::2]], parts[1::2]
    assert numbers == [*range(1, 15)]
    assert [number for number, text in zip(numbers, texts, strict=True) if "- `tests/" not in text] == [14]


def test_the_table_against_others_has_a_place():
    assert PAGE.count("<!-- peers: begin -->") == PAGE.count("<!-- peers: end -->") == 1


def names_in(file: Path) -> set[str]:
    if not file.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
