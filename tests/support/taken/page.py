"""The lists of what is taken and what is not, in `docs/what-can-be-saved.md`: saved and restored here, one of each.

python -m tests.support.taken.page      # rewrites them
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable
from typing import Any, Literal

from holdfast.errors import UnsupportedStateError
from holdfast.state import capture, digest, restore
from tests.support import ROOT
from tests.support.taken.examples import FRAMEWORKS, Example

PAGE = ROOT / "docs" / "what-can-be-saved.md"
BEGIN, END = "<!-- taken: begin -->\n", "<!-- taken: end -->\n"
Outcome = Literal["in place", "a new one", "refused"]


def outcome(make: Example) -> Outcome:
    """What becomes of such a value that is saved, and restored where another one is.

    Raises:
        AssertionError: it is not restored to what was saved.
    """
    saved, live = make(1), make(0)
    try:
        snapshot = capture({"value": saved})
    except UnsupportedStateError:
        return "refused"
    found = restore(snapshot, {"value": live}).value["value"]
    assert digest(capture({"value": found})) == digest(snapshot), "restored to something else"
    return "in place" if found is live else "a new one"


def section(framework: str, examples: Callable[[], dict[str, Any]]) -> str:
    """The table of one framework: what is taken first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {what: outcome(make) for what, make in examples().items()}
    rows = [f"| {what} | yes, {how} |" for what, how in found.items() if how != "refused"]
    rows += [f"| {what} | **no** |" for what, how in found.items() if how == "refused"]
    return "\n".join([f"### {framework}\n", "| what | taken |", "|---|---|", *rows, "\n"])


def lists() -> str:
    return "\n" + "".join(section(name, examples) for name, examples in FRAMEWORKS.items())


def shown() -> str:
    """The lists that the page has."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def main() -> int:
    """Rewrite the page's lists; with `--check` only say whether they are as they should be."""
    now = lists()
    if "--check" in sys.argv[1:]:
        told = difflib.unified_diff(shown().splitlines(), now.splitlines(), "the page", "found", lineterm="")
        print(*told, sep="\n")
        return int(shown() != now)
    text = PAGE.read_text()
    PAGE.write_text(text.partition(BEGIN)[0] + BEGIN + now + END + text.partition(END)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
