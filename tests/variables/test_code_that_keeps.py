"""What classes and functions of the script keep for themselves comes back: class attributes, attributes of functions, defaults."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.support.interrupted import begin, both_ways, stop_after


def keeping(what: str) -> Any:
    """A function of the step, whose values depend on what it or a class has kept from earlier calls."""

    class Counts:
        total = 0
        seen: ClassVar[list[int]] = []
        table = np.zeros(2)

        @classmethod
        def add(cls, step: int) -> float:
            cls.total += step
            cls.seen.append(step)
            cls.table[1] += step
            return cls.total + len(cls.seen) + float(cls.table[1])

    def with_default(step: int, seen: list[int] = []) -> int:  # noqa: B006
        seen.append(step)
        return len(seen)

    def with_keyword(step: int, *, seen: dict[int, int] = {}) -> int:  # noqa: B006
        seen[step] = step
        return len(seen)

    def with_attribute(step: int) -> int:
        with_attribute.calls = getattr(with_attribute, "calls", 0) + 1  # type: ignore[attr-defined]
        return with_attribute.calls  # type: ignore[attr-defined]

    found: dict[str, Any] = {
        "a class": Counts,
        "a default": with_default,
        "a keyword": with_keyword,
        "an attribute": with_attribute,
        "a partial": functools.partial(lambda seen, step: seen.append(step) or len(seen), []),
    }
    return found[what]


@pytest.mark.parametrize("what", ["a class", "a default", "a keyword", "an attribute", "a partial"])
def test_it_ends_as_an_uninterrupted_one(what: str, tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        kept = keeping(what)
        weight = np.zeros(1)
        with begin(directory, {"weight": weight}) as run:
            for step in run.steps(9):
                weight += kept.add(step) if what == "a class" else kept(step)
                stop_after(stop, step)
        return float(weight[0]), run.last_resume and run.last_resume.verdict

    (wanted, _), (found, verdict) = both_ways(train, tmp_path, 4)
    assert found == wanted
    assert verdict == "exact"
