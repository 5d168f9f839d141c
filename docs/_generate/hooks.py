"""What MkDocs calls while it builds the site (`hooks:` in mkdocs.yml)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))  # MkDocs loads a hook by its path, alone

from _generate import command_line, error_tree, reference, root_pages  # noqa: E402


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated."""
    made = {
        **reference.pages(ROOT),
        "reference/command-line.md": command_line.page(),
        "reference/errors.md": error_tree.page(),
        **root_pages.pages(ROOT),
    }
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files at the root of the repository lead to their pages."""
    return root_pages.relinked(markdown, page.file.src_uri)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a reader's browser would fetch anything from another host."""
    elsewhere = re.compile(
        r"""<(?:script|img|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|url\(["']?(?:https?:)?//"""
    )
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css") and (found := elsewhere.search(path.read_text())):
            raise PluginError(f"{path} fetches from another host: {found[0]}")
