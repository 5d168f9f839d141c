"""What Holdfast works with, in tables: the README's, with a row for each case that the acceptance test holds to its
promises, and that of all extras in `docs/integrations/versions.md`.

As a script, this file prints both.
"""

from __future__ import annotations

import ast
import re
import tomllib

from tests.support import ROOT
from tests.support.integrations.acceptance import CASES, HERE

_PROJECTS = {
    "stable_baselines3": "stable-baselines3",
    "sklearn": "scikit-learn",
    "xgboost": "xgboost-cpu",
}  # where a module has another name than its project


def table() -> str:
    head = (
        "framework",
        "tested with, oldest and newest",
        "killed anywhere, resumed in a new process: same bits",
    )
    lines = [
        f"| {' | '.join(head)} | newest checkpoint damaged | last k and best k |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(case) for case in CASES)]) + "\n"


def _row(case: str) -> str:
    module = ast.parse((HERE / f"{case}_case.py").read_text())
    title = (ast.get_docstring(module) or case).partition(":")[0]
    pages = ROOT / "docs" / "integrations"
    names = (f"{case.replace('_', '-')}.md", f"{case.partition('_')[0]}.md")
    page = next((name for name in names if (pages / name).exists()), "own-loop.md")
    tested = ", ".join(f"{project} {_span(project)}" for project in _projects(module))
    return f"| [{title}](docs/integrations/{page}) | {tested} | yes | skipped | as if uninterrupted |"


def extras_table() -> str:
    """Each extra of the package with what it asks for, and the versions of that with which the tests are run."""
    lines = ["| `holdfast[…]` | requires | oldest tested | newest tested |", "|---|---|---|---|"]
    for extra, requirements in extras().items():
        projects = [name_of(each) for each in requirements]
        tested = [_PROJECTS.get(each, each) for each in projects]
        asked = ", ".join(f"{each}" for each in requirements)
        oldest = ", ".join(f"{each} {OLDEST[each]}" for each in tested if each in OLDEST)
        newest = ", ".join(f"{each} {NEWEST[each]}" for each in tested if each in NEWEST)
        lines.append(f"| {extra} | {asked} | {oldest} | {newest} |")
    return "\n".join(lines) + "\n"


def extras() -> dict[str, list[str]]:
    """Those for people who use the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = ("dev", "docs")
    return {name: each for name, each in project["optional-dependencies"].items() if name not in ours}


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0]  # type: ignore[index]


def _projects(case: ast.Module) -> list[str]:
    """What the case needs."""
    [needs] = [
        ast.literal_eval(node.value)
        for node in case.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["NEEDS"]
    ]
    return [each for each in (_PROJECTS.get(name, name) for name in needs) if each in NEWEST]


def _span(project: str) -> str:
    oldest, newest = OLDEST.get(project, NEWEST[project]), NEWEST[project]
    return newest if oldest == newest else f"{oldest} and {newest}"


def _pins(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE))


NEWEST, OLDEST = _pins("constraints-dev.txt"), _pins("constraints-oldest.txt")


if __name__ == "__main__":
    print(table(), extras_table(), sep="\n", end="")
