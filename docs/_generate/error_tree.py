"""The page of errors: each class, what it is, when it is raised, and what to do, from `holdfast.errors`."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from types import ModuleType

LINE = re.compile(
    r"^ {4}(?:(?P<rails>(?:│   |    )*[├└]── )|(?=HoldfastError))"
    r"(?P<name>\w+)(?: \((?P<builtin>\w+)\))?(?: {2,}(?P<do>\S.*))?$"
)


@dataclass(frozen=True)
class Entry:
    """A line of the tree: a class, the classes it is drawn under and beside, and what to do about it."""

    name: str
    parents: tuple[str, ...]
    do: str


def tree(doc: str) -> list[Entry]:
    """The tree that the docstring of `holdfast.errors` draws, line by line."""
    above: list[str] = []
    found = []
    for line in doc.splitlines():
        if (match := LINE.match(line)) is None:
            continue
        depth = len(match["rails"] or "") // 4
        del above[depth:]
        parents = (*above[-1:], *([match["builtin"]] if match["builtin"] else []))
        found.append(Entry(match["name"], parents, match["do"] or ""))
        above.append(match["name"])
    return found


def hierarchy(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """The classes of errors that the module defines, with the names of their bases; `Exception` goes without saying."""
    return {
        name: tuple(base.__name__ for base in kind.__bases__ if base is not Exception)
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == module.__name__
    }


def page() -> str:
    """The page."""
    from holdfast import errors

    doc = errors.__doc__ or ""
    do = {entry.name: entry.do for entry in tree(doc)}
    drawn = "\n".join(
        re.sub(r"(?<=[\w)]) {2,}.*", "", line[4:]) for line in doc.splitlines() if LINE.match(line)
    )
    bases = hierarchy(errors)
    sections = [
        _section(getattr(errors, name), parents, do.get(name, ""), set(bases))
        for name, parents in bases.items()
    ]
    return "\n".join([f"{_INTRO}\n```text\n{drawn}\n```\n", *sections])


_INTRO = """# Errors

Each error says what happened, to what, and what to do next; its facts are its attributes. All are in `holdfast.errors`.
To catch whatever the library raises on its own account, catch `HoldfastError`. Most are a built-in error as well.
"""


def _section(kind: type, parents: tuple[str, ...], do: str, ours: set[str]) -> str:
    linked = [f"[`{name}`][holdfast.errors.{name}]" if name in ours else f"`{name}`" for name in parents]
    lines = [f"## `{kind.__name__}` {{#holdfast.errors.{kind.__name__}}}\n"]
    if linked:
        lines.append(f"A kind of {' and '.join(linked)}.\n")
    lines.append(f"{inspect.getdoc(kind)}\n")
    if do:
        lines.append(f"**What to do:** {do}.\n")
    return "\n".join(lines)
