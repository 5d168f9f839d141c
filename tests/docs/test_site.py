"""The site says what the code says: the reference has every public name, and what pages name exists.

`make docs` builds it, and fails where a link, an anchor or a name of the reference leads nowhere.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast import errors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "holdfast"

sys.path.insert(0, str(ROOT / "docs"))
from _generate import command_line, error_tree, reference, root_pages  # noqa: E402


def documented() -> set[str]:
    return {name for _, _, names in reference.GROUPS.values() for name in names}


def test_every_public_name_is_in_the_reference_and_nothing_else():
    public = {*holdfast.__all__, "open"} - {"__version__"}  # which `import *` leaves to Python's own
    assert public - documented() == set()
    assert {name for name in documented() - public if "." not in name} == set()


def test_the_pages_of_the_reference_hold_what_the_groups_say():
    pages = "".join(reference.pages(ROOT).values())
    shown = set(re.findall(r"^::: holdfast\.(\S+)$", pages, re.MULTILINE))
    assert set(holdfast.__all__) - {"__version__"} <= shown


def test_every_public_module_of_the_integrations_is_in_the_reference():
    folder = PACKAGE / "integrations"
    there = {path.stem for path in folder.iterdir() if not path.stem.startswith("_")}
    not_imported = {"loop", "backends"}  # `holdfast.Run`, and what only the integrations import
    assert there - not_imported == set(reference.modules(ROOT)) == set(reference.FRAMEWORKS)


@pytest.mark.parametrize("name", sorted(reference.FRAMEWORKS))
def test_every_public_name_of_an_integration_is_in_the_reference(name: str):
    names = reference.public_names(reference.modules(ROOT)[name])
    page = reference.pages(ROOT)["reference/integrations.md"]
    assert names
    for each in names:
        assert f"::: holdfast.integrations.{name}.{each}\n" in page


def test_a_module_without_a_list_offers_what_it_defines_and_hands_on(tmp_path: Path):
    source = tmp_path / "module.py"
    source.write_text("from a import b as b\nfrom a import c\ndef d(): ...\ndef _e(): ...\nclass F: ...\n")
    assert reference.public_names(source) == ["F", "b", "d"]
    source.write_text("__all__ = ['d']\n" + source.read_text())
    assert reference.public_names(source) == ["d"]


def test_every_command_is_on_the_page_of_the_command_line_with_what_does_the_same_in_python():
    page = command_line.page()
    assert set(command_line.commands()) == set(command_line.TWINS)
    for name, command in command_line.commands().items():
        assert f"## `holdfast {name}` {{#{name}}}" in page
        for option in (
            each for parameter in command.params for each in parameter.opts if each.startswith("--")
        ):
            assert option in page
    for twins in command_line.TWINS.values():
        for twin in twins:
            assert functools.reduce(getattr, twin.split("."), holdfast) is not None


def test_the_tree_of_errors_is_the_one_that_the_classes_make():
    drawn = {entry.name: set(entry.parents) for entry in error_tree.tree(errors.__doc__ or "")}
    made = {name: set(bases) for name, bases in error_tree.hierarchy(errors).items()}
    assert made.pop("Preempted") == {"SystemExit"}  # which stands beside the tree
    assert drawn == made


def test_every_error_says_what_to_do():
    assert [entry.name for entry in error_tree.tree(errors.__doc__ or "") if not entry.do] == []
    page = error_tree.page()
    for name in error_tree.hierarchy(errors):
        assert f"{{#holdfast.errors.{name}}}" in page


def test_links_from_the_root_and_to_it_lead_to_pages_of_the_site():
    text = root_pages.relinked(
        "[a](../../README.md#x) [b](README.md) [c](../keeping.md)", "integrations/keras.md"
    )
    assert text == "[a](../others.md) [b](README.md) [c](../keeping.md)"
    for page, content in root_pages.pages(ROOT).items():
        for _, target, _ in root_pages.LINK.findall(content):
            assert (
                "://" in target or target in root_pages.PAGES.values() or (ROOT / "docs" / target).exists()
            ), page


# What design.md names.

FOREIGN = {"cp", "tar", "rsync", "DataLoader", "F_FULLFSYNC", "NAME"}
"""Words in code that are not ours."""


def spans() -> list[str]:
    text = re.sub(
        r"^```.*?^```", "", (ROOT / "docs" / "design.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return sorted(set(re.findall(r"`([^`\n]+)`", text)))


@functools.cache
def defined() -> tuple[set[str], set[str]]:
    """Names of all classes and functions of the package, and every word that its sources use."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in nodes if isinstance(node, kinds)}, set(re.findall(r"\w+", "".join(sources)))


def exists(span: str) -> bool:
    """Whether a file, folder, command, dotted name, call, class, module or word of this name is there."""
    definitions, words = defined()
    if span.endswith((".py", "/")) and span[0] != ".":
        at_home = [ROOT / span, PACKAGE / span]
        return (
            any(path.exists() for path in at_home)
            or ("/" not in span and any(PACKAGE.rglob(span)))
            or (span.split(".")[0] in FOREIGN)
        )
    if found := re.fullmatch(r"holdfast (\w+)", span):
        return found[1] in command_line.TWINS
    if found := re.search(r"\bholdfast(\.\w+)+", span):
        return resolves(found[0])
    first = re.match(r"[\w.]+", span)
    if first is None:
        return True  # a pattern or a quotation
    name = first[0].split(".")[-1]
    if first[0].split(".")[0] in FOREIGN:
        return True
    if f"{name}(" in span or re.fullmatch(r"(?:[A-Z][a-z]+)+", name):
        return name in definitions
    return name in words or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    try:
        functools.reduce(getattr, parts[1:], importlib.import_module(parts[0]))
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("span", spans())
def test_what_the_page_of_the_design_names_is_there(span: str):
    assert exists(span)


def test_every_module_in_the_table_of_layers_is_one():
    table = re.search(
        r"^## Layers.*?(?=^## )", (ROOT / "docs" / "design.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert table is not None
    rows = [row.split("|")[2] for row in table[0].splitlines() if re.match(r"\| \d", row)]
    named = {name for row in rows for name in re.findall(r"`([a-z]\w*)`", row)}
    assert named
    assert [
        each for each in sorted(named) if not ((PACKAGE / each).is_dir() or (PACKAGE / f"{each}.py").exists())
    ] == []


@pytest.mark.parametrize(
    "span",
    [
        "session/_nothing.py",
        "nothing/",
        "holdfast nothing",
        "holdfast.nothing",
        "nothing_at_all()",
        "NoSuchClass",
    ],
)
def test_what_is_not_there_is_found_out(span: str):
    assert not exists(span)
