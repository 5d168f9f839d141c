"""One word for one thing: words that have been retired stand nowhere in what users and developers read."""

import io
import re
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import typer

from holdfast.cli._app import app

ROOT = Path(__file__).parents[2]
SEARCHED = (
    *("src", "docs", "examples", "benchmarks", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("pyproject.toml", "Makefile", "mkdocs.yml"),
)

RETIRED = {
    "rule|rules": "policy, policies",
    "go on|goes on|going on|gone on|went on": "resume, continue",
    "arrive|arrives|arrived|asked for": "resume, source, resumed; request",
    "whole": "complete (of a checkpoint), intact (of bytes), entire",
    "peace": "uninterrupted",
    "sick|sickness|healthy|health": "non-finite, finite",
    "by hand": "manual, on request, by yourself",
    "random stream|random streams": "random state, RNG",
    "what trains|somebody else's loop|somebody else's training loop": "the training loop, the framework",
    "set aside": "skipped",
    "afresh|begin anew|begins anew": "from scratch",
}
"""Alternatives by `|`, as words in any case, in prose and in names (`go_on`, `GoOn`), and what to say instead."""

FORMAT = {
    ("docs/preemption.md", "rules:"),  # Kubernetes's
    ("docs/exactness.md", 'record.details.get("health")'),
    ("docs/exactness.md", "{'sick': 1, 'leaves'"),
    ("src/holdfast/integrations/modularml/_results.py", '"whole"'),
    ("src/holdfast/policy/_keep.py", 'details["health"]'),
    ("src/holdfast/policy/_keep.py", 'health = record.details.get("health")'),
    ("src/holdfast/policy/_keep.py", 'number = health.get("sick")'),
    ("src/holdfast/records.py", 'MANUAL = "by_hand"'),
    ("src/holdfast/bundle/_finite.py", 'return {"health": {"sick": len(nonfinite), "leaves": named}}'),
    ("src/holdfast/bundle/_save.py", "details as `health`"),
    ("src/holdfast/checkpoint/_finite.py", '.get("sick", len(leaves))'),
    ("src/holdfast/checkpoint/_finite.py", 'record.details.get("health")'),
    ("src/holdfast/checkpoint/_fork.py", '_KEPT = ("elapsed_s", "health", "next")'),
}
"""Keys of the format on disk, which stay: a file, and what the line contains."""


def phrase(words: str) -> str:
    """`words` in prose and names, also where a line, perhaps of a comment, ends between two of them."""
    return re.escape(words).replace(r"\ ", r"(?:\s|_|#)+")


PATTERN = re.compile(
    r"\b(?:" + "|".join(map(phrase, "|".join(RETIRED).split("|"))) + r")\b",
    re.IGNORECASE,
)


OF_LIBRARIES = {"HealthCheck", "suppress_health_check"}  # names that they gave, and the tests have to use


def found_in(text: str) -> list[tuple[int, str]]:
    """Each retired word with the number of the line where it begins."""
    # As words, so that parts of names are found; underscores and capitals only separate them.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text)
    return [(words.count("\n", 0, each.start()) + 1, each[0]) for each in PATTERN.finditer(words)]


def is_allowed(file: str, line: str) -> bool:
    return any(file == allowed and content in line for allowed, content in FORMAT)


def searched() -> Iterator[Path]:
    for place in SEARCHED:
        below = ROOT / place
        yield from [below] if below.is_file() else chain(below.rglob("*.py"), below.rglob("*.md"))


def texts() -> list[str]:
    """The files that are searched, by their paths in the repository."""
    names = (file.relative_to(ROOT).as_posix() for file in searched())
    return sorted(name for name in names)


def help_of(command: typer.core.TyperGroup | object) -> Iterator[str]:
    """What the command line says of itself: of this command, its options, and the commands below it."""
    yield getattr(command, "help", None) or ""
    for parameter in getattr(command, "params", ()):
        yield getattr(parameter, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield from help_of(below)


@pytest.mark.parametrize("file", texts())
def test_no_retired_word_is_used(file):
    lines = (ROOT / file).read_text(encoding="utf-8")
    by_number = lines.split("\n")
    found = [
        f"{file}:{number}: {word!r} in {by_number[number - 1].strip()!r}"
        for number, word in found_in(lines)
        if not is_allowed(file, by_number[number - 1])
    ]
    assert not found, "\n".join([*found, f"Say instead: {RETIRED}"])


@pytest.mark.medium
def test_names_in_the_tests_use_none():
    """Files, functions, classes, arguments and variables; not prose, nor keys of the format in strings."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        found += [f"{place}: {word!r} in its path" for _, word in found_in(place)]
        tokens = tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
        names = {token.string for token in tokens if token.type == tokenize.NAME}
        found += [f"{place}: {name}" for name in sorted(names - OF_LIBRARIES) if found_in(name)]
    assert not found, "\n".join([*found, f"Say instead: {RETIRED}"])


def test_the_help_of_the_command_line_uses_none():
    helps = list(help_of(typer.main.get_command(app)))
    assert len([text for text in helps if text]) > 50
    assert {text: words for text in helps if (words := found_in(text))} == {}


def test_every_exception_is_still_needed():
    for file, content in FORMAT:
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert any(content in line and found_in(line) for line in lines), (file, content)


@pytest.mark.parametrize(
    "text", ["a rule", "save_rule", "GoOn", "it goes\n    # on", "HEALTH", "_whole", "peace"]
)
def test_a_retired_word_is_found_in_prose_and_in_names(text):
    assert found_in(text)


@pytest.mark.parametrize("text", ["ruler", "healthcare", "wholesale", "peaceful", "ongoing on-call"])
def test_a_word_that_only_looks_like_one_is_not(text):
    assert not found_in(text)
