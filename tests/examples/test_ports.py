"""The ports of `examples/ports/`, killed three times: they end in the bits of an uninterrupted run, or say what they lack."""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from tests.support.port_runs import PORTS, SAVE_EVERY, outcome
from tests.support.preloaded import preloaded

NAMES = sorted(SAVE_EVERY)
CANNOT_BE_SAVED = {"diffusion": "self.dl", "mingpt": "data_iter"}
"""The iterators that decide what comes next and have no place to save; `full/` shows what helps."""
EXACT = [name for name in NAMES if name not in CANNOT_BE_SAVED]
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


def lines_of(path: Path) -> list[str]:
    """Without indentation, and without the empty lines and brackets that a formatter sets."""
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def test_each_script_is_there_plain_and_as_a_first_port():
    assert [path.stem for path in sorted((PORTS / "plain").glob("*.py"))] == NAMES
    assert [path.stem for path in sorted((PORTS / "first").glob("*.py"))] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_first_port_has_at_most_five_new_lines(name):
    plain, first = lines_of(PORTS / "plain" / f"{name}.py"), lines_of(PORTS / "first" / f"{name}.py")
    new = [line for line in difflib.ndiff(plain, first) if line.startswith("+ ")]
    assert 3 <= len(new) <= 5, new


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_script_knows_nothing_of_the_library(name):
    assert not re.search(r"holdfast|\brun\.", (PORTS / "plain" / f"{name}.py").read_text())


def test_what_cannot_be_saved_is_shown_in_full():
    assert [path.stem for path in sorted((PORTS / "full").glob("*.py"))] == sorted(CANNOT_BE_SAVED)
    assert len(EXACT) >= 10


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_a_killed_first_port_ends_in_the_same_bits(name, tmp_path):
    ended = outcome(name, tmp_path)
    assert ended.as_plain, "never killed, it trains something else than the plain script"
    assert ended.differs == ()
    assert ended.verdicts == ("exact",) * 3
    assert ended.differs_again == ()


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", CANNOT_BE_SAVED)
def test_a_first_port_that_is_not_exact_names_what_is_missing(name, tmp_path):
    ended = outcome(name, tmp_path)
    assert ended.as_plain
    assert "weights" in ended.differs
    assert ended.verdicts == (f"exact but for: {CANNOT_BE_SAVED[name]}",) * 3
    assert f"{CANNOT_BE_SAVED[name]} (" in ended.said


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", CANNOT_BE_SAVED)
def test_a_full_port_ends_in_the_same_bits(name, tmp_path):
    ended = outcome(name, tmp_path, folder="full")
    assert ended.differs == ()
    assert ended.verdicts == ("exact",) * 3
    assert ended.differs_again == ()


def checked(folder: str, name: str, directory: Path) -> tuple[int, dict]:
    port = str(PORTS / folder / f"{name}.py")
    done = preloaded("torch").check(port, "report.json", directory=directory)
    assert done.exit_code in (0, 8), done.output
    return done.exit_code, json.loads(done.stdout)


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn", "mnist", "nanogpt", "word_language_model"])
def test_check_proves_a_first_port_that_is_exact(name, tmp_path):
    code, report = checked("first", name, tmp_path)
    assert (code, report["verdict"], report["resumed"]) == (0, "proved", "exact")
    assert list(tmp_path.iterdir()) == []


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", CANNOT_BE_SAVED)
def test_check_names_what_a_first_port_lacks(name, tmp_path):
    code, report = checked("first", name, tmp_path)
    assert (code, report["outcome"], report["verdict"]) == (8, "differs", "not exact")
    assert report["findings"][0]["name"] == CANNOT_BE_SAVED[name]
    assert report["findings"][0]["kind"] == "iterator"
    assert checked("full", name, tmp_path)[1]["verdict"] == "proved"
