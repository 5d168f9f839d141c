"""The README's table of what Holdfast works with: a row for each case that the acceptance test holds to its promises.

As a script, this file prints it.
"""

from __future__ import annotations

import ast
import re

from acceptance import CASES, HERE

ROOT = HERE.parents[2]
_PROJECTS = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost-cpu",
}  # where a module has another name than its project


def table() -> str:
    lines = [
        "| what trains | tested with | killed anywhere, in a new process: the same bits | newest damaged | last k, best k |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(case) for case in CASES)]) + "\n"


def _row(case: str) -> str:
    module = ast.parse((HERE / f"{case}_case.py").read_text())
    title = (ast.get_docstring(module) or case).partition(":")[0]
    pages = ROOT / "docs" / "integrations"
    page = f"{case.partition('_')[0]}.md"
    page = page if (pages / page).exists() else "own-loop.md"
    tested = ", ".join(f"{project} {version}" for project, version in _versions(module))
    return f"| [{title}](docs/integrations/{page}) | {tested} | yes | passed over | kept as in peace |"


def _versions(case: ast.Module) -> list[tuple[str, str]]:
    """Of what the case needs, as the tests are run with."""
    [needs] = [
        ast.literal_eval(node.value)
        for node in case.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["NEEDS"]
    ]
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints-dev.txt").read_text(), re.MULTILINE))
    projects = [_PROJECTS.get(name, name) for name in needs]
    return [(project, pins[project]) for project in projects if project in pins]


if __name__ == "__main__":
    print(table(), end="")
