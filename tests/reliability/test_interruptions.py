"""Out of memory, or Ctrl-C, at any line of a save: nothing is lost, and the same process saves on."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.storage import MemoryDisk
from tests.support.reliability.lives import BEST, LAST, Saver, read

SOURCE = str(Path(holdfast.__file__).parent)
Line = tuple[str, int]


class Tracer:
    """Notes each line of the library that is run; raises `error` when `at` is, for the first time."""

    def __init__(self, at: Line | None = None, error: BaseException | None = None) -> None:
        self.at, self.error = at, error
        self.lines: dict[Line, None] = {}

    def __call__(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            self.lines[line] = None
            if line == self.at and self.error is not None:
                error, self.error = self.error, None
                raise error
        return self

    def __enter__(self) -> Tracer:
        sys.settrace(self)
        return self

    def __exit__(self, *details: object) -> None:
        sys.settrace(None)


def prepared() -> Saver:
    saver = Saver(MemoryDisk(lambda: 0.0))
    saver.save(1)
    saver.save(2, LAST)
    return saver


def lines_of(path: str) -> Iterator[Line]:
    saver = prepared()
    with Tracer() as tracer:
        saver.save(3, path)
    yield from tracer.lines


@pytest.mark.slow
@pytest.mark.parametrize("path", [BEST, "runs/new.ckpt.mml"], ids=["overwriting", "a new name"])
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_raised_at_any_line_of_a_save_it_harms_nothing(path: str, error: type[BaseException]):
    lines = [*lines_of(path)]
    assert len(lines) > 250
    raised = 0
    for line, number in zip(lines, itertools.cycle(range(4, 20)), strict=False):
        saver = prepared()
        try:
            with Tracer(line, error()) as tracer:
                saver.save(number, path)
        except (MemoryError, KeyboardInterrupt):
            raised += 1
        assert tracer.error is None, line
        check(saver, path, number, line)
    assert raised > 0.9 * len(lines)  # the others clean up, and may fail at that


def check(saver: Saver, path: str, number: int, line: Line) -> None:
    there = {name for name in saver.disk.folders("runs") if not name.startswith(".")}
    assert read(saver.disk, LAST) == 2, line
    if path == BEST:
        assert read(saver.disk, BEST) in (1, number), line
    elif path.rpartition("/")[2] in there:
        assert read(saver.disk, path) == number, line
    saver.save(3, path)  # with all that this process believes to know
    saver.save(20, LAST)
    assert (read(saver.disk, path), read(saver.disk, LAST)) == (3, 20), line
