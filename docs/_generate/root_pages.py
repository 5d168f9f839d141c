"""Pages that lie at the root of the repository, and one section of the README, as pages of the site."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "others.md"}
SECTION = "What others do better, and what they do not do"
"""Of the README, which is a page of its own in the site."""

LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def pages(root: Path) -> dict[str, str]:
    """The pages, by where they lie in the site."""
    made = {page: (root / name).read_text() for name, page in PAGES.items()}
    made["others.md"] = _section(made["others.md"])
    return {page: _moved(text) for page, text in made.items()}


def _section(readme: str) -> str:
    found = re.search(rf"^## {re.escape(SECTION)}\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    if found is None:
        raise LookupError(
            f"README.md has no section {SECTION!r}; docs/_generate/root_pages.py makes a page of it"
        )
    return f"# {SECTION}\n{found[1]}"


def _moved(text: str) -> str:
    """A page of the root, as if it lay in docs/. What is in neither is named, without a link."""

    def link(found: re.Match[str]) -> str:
        shown, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target:
            return found[0]
        if target.startswith("docs/"):
            return f"[{shown}]({target.removeprefix('docs/')}{anchor})"
        return f"[{shown}]({PAGES[target]})" if target in PAGES else f"{shown} (`{target}`)"

    return LINK.sub(link, text)


def relinked(markdown: str, src_uri: str) -> str:
    """A page of docs/ with its links to pages of the root leading to those of the site."""
    up = "../" * len(PurePosixPath(src_uri).parts)
    back = "../" * (len(PurePosixPath(src_uri).parts) - 1)

    def link(found: re.Match[str]) -> str:
        name = found[2].removeprefix(up)
        inside = name in PAGES and found[2].startswith(up)
        return f"[{found[1]}]({back}{PAGES[name]})" if inside else found[0]

    return LINK.sub(link, markdown)
