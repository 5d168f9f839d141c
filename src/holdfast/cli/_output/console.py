"""Where output goes: colours and the terminal's width on a terminal, plain uncut lines elsewhere.

All text is printed as it is given: no markup, no emoji codes, no highlighting, no wrapping.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NoReturn

from rich import console as rich_console
from rich.segment import Segment, Segments

from .as_json import dumps
from .exit import BROKEN_PIPE

Cell = tuple[str, str]
"""A text and the name of its style (`""`: none)."""


class Console(rich_console.Console):
    """Rich's console for text that was not written by us."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    @property
    def limit(self) -> int | None:
        """Cells in a line; None where lines may have any length."""
        return self.width if self.is_terminal else None

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line of one style."""
        self.lines([[(text, style)]])

    def lines(self, lines: Iterable[Iterable[Cell]]) -> None:
        """Print cells side by side as they are; fast for any number of lines."""
        if not self.is_terminal:
            self.plain_lines("".join(text for text, _ in cells) for cells in lines)
            return
        segments = []
        for cells in lines:
            segments += [Segment(text, self.get_style(style) if style else None) for text, style in cells]
            segments.append(Segment.line())
        self.print(Segments(segments), end="", crop=False)

    def plain_lines(self, lines: Iterable[str]) -> None:
        """Print lines without any style, wherever they go."""
        self.file.writelines(f"{line}\n" for line in lines)

    def json(self, values: Iterable[object]) -> None:
        """Print each in a line, as JSON."""
        self.plain_lines(map(dumps, values))

    def on_broken_pipe(self) -> None:
        die_of_broken_pipe()


def die_of_broken_pipe() -> NoReturn:
    """End silently, as `… | head` expects."""
    # What is still buffered has nowhere to go; without this Python complains about it at its exit.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    sys.exit(BROKEN_PIPE)
